"""Runs that are killed, run out of disk, or find their files damaged, end with the same bits."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lth_core import results
from lth_core.imp.proof import prove

from .killed_run import MOMENTS

DRIVER = Path(__file__).with_name("killed_run.py")


def run(
    directory: Path,
    *arguments: object,
    kill_after: float | None = None,
    ranks: int = 1,
    **kwargs: Any,
) -> subprocess.CompletedProcess[str]:
    """One attempt, in a process, or several, of its own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    process = subprocess.Popen(
        [
            sys.executable,
            *(launcher if ranks > 1 else []),
            str(DRIVER),
            str(directory),
            *map(str, arguments),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    if kill_after is not None:
        # From the first sign of the run: starting Python and its libraries takes seconds.
        started = time.monotonic()
        while process.poll() is None and not (directory / ".lock").exists():
            time.sleep(0.01)
            assert time.monotonic() - started < 900
        time.sleep(kill_after)
        process.kill()
    error = process.communicate()[1]
    return subprocess.CompletedProcess(process.args, process.returncode, "", error)


def outcome(directory: Path) -> list[tuple[Any, ...]]:
    """What must not depend on what happened on the way."""
    receipts = [json.loads(p.read_text()) for p in sorted(directory.glob("level_*/metrics.json"))]
    # Each level has one line in the file of results, wherever the run was killed.
    lines = results.read_file(directory / results.FILE)
    assert [line.level for line in lines] == list(range(len(receipts)))
    assert [line.value for line in lines] == [
        receipt["metrics"]["accuracy"] for receipt in receipts
    ]
    keys = ("digest", "next", "rewind", "start", "trained", "metrics")
    for level in range(len(receipts)):
        assert prove(directory / f"level_{level:02d}" / "ticket.safetensors")
    return [tuple(receipt[key] for key in keys) for receipt in receipts]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to. Its directory must not be written to."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    done = run(directory)
    assert done.returncode == 0, done.stderr
    assert len(outcome(directory)) == 3
    return directory


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("training", 20),
        ("evaluating", 6),
        ("pruning", 1),
        ("naming a file", 3),
        ("writing a checkpoint", 7),
        ("recording", 2),
    ],
)
def test_a_run_killed_at_a_moment_ends_alike(
    where: str, number: int, whole: Path, tmp_path: Path
) -> None:
    killed = run(tmp_path / "run", where, number)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "run") == outcome(whole)


def test_two_processes_of_which_one_is_killed_end_alike(tmp_path: Path) -> None:
    done = run(tmp_path / "whole", ranks=2)
    assert done.returncode == 0, done.stderr
    killed = run(tmp_path / "run", "training", 12, ranks=2)
    assert killed.returncode != 0
    done = run(tmp_path / "run", ranks=2)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_twenty_moments_ends_alike(seed: int, whole: Path, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kills = runs = 0
    while kills < 20:  # a run that has come to its end is followed by another
        directory = tmp_path / f"run_{runs}"
        if chance.random() < 0.5:
            killed = run(directory, kill_after=chance.uniform(0.0, 1.5))
        else:
            where = chance.choice(list(MOMENTS))
            killed = run(directory, where, chance.randint(1, 4))
        kills += killed.returncode == -signal.SIGKILL
        runs += killed.returncode == 0
        assert killed.returncode in (0, -signal.SIGKILL), killed.stderr
    for number in range(runs + 1):
        done = run(tmp_path / f"run_{number}")
        assert done.returncode == 0, done.stderr
        assert outcome(tmp_path / f"run_{number}") == outcome(whole)


@pytest.mark.long
@pytest.mark.parametrize("where", MOMENTS)
def test_a_run_killed_at_each_moment_in_turn_ends_alike(
    where: str, whole: Path, tmp_path: Path
) -> None:
    for _ in range(8):  # each attempt gets one moment further than the last
        killed = run(tmp_path / "run", where, 3)
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "run") == outcome(whole)


def _files(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


@pytest.mark.long
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_no_damaged_file_leads_to_a_wrong_ticket(damage: str, whole: Path, tmp_path: Path) -> None:
    """One file of every kind in the run directory, in the middle of the run."""
    broken = tmp_path / "broken"
    killed = run(broken, "training", 30)  # in the middle of level 1
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kinds = {}
    for name in _files(broken):
        kinds[(name.split("/")[0], Path(name).suffix, Path(name).stem[:5])] = name
    assert len(kinds) >= 10
    for number, name in enumerate(sorted(kinds.values())):
        directory = Path(shutil.copytree(broken, tmp_path / str(number)))
        path = directory / name
        data = bytearray(path.read_bytes())
        if damage == "gone":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif data:
            data[len(data) // 2] ^= 16
            path.write_bytes(data)
        done = run(directory)
        if done.returncode:
            assert "imp.json is damaged" in done.stderr or "holds a run with other" in done.stderr
            assert name == "imp.json", (name, done.stderr)
        else:
            assert outcome(directory) == outcome(whole), name
        shutil.rmtree(directory)


def test_a_full_disk_is_said_and_nothing_is_lost(whole: Path, tmp_path: Path) -> None:
    # No file may grow beyond this: a stand-in for a disk that is full.
    limit = (whole / "rewind.safetensors").stat().st_size + 100

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    full = run(tmp_path / "run", preexec_fn=small_files)
    assert full.returncode not in (0, -signal.SIGXFSZ)
    assert "RunError: checkpoint" in full.stderr
    assert "cannot be written: File too large" in full.stderr
    assert not list((tmp_path / "run").rglob("*.part"))
    done = run(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "run") == outcome(whole)
