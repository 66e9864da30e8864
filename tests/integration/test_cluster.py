"""Studies whose trainings a scheduler runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lth_core.cli import main as lth_command
from lth_core.errors import ConfigError
from lth_core.openmmlab.jobs import JobError, Store
from lth_core.openmmlab.jobs.cluster import SUBMITTED, Cluster, Submission, parse
from lth_core.openmmlab.study import Settings, run_study
from submitit.slurm.slurm import SlurmJob

from . import fake_slurm
from .study_config import timeless

SETTINGS = Settings(
    config="tiny.py",
    tickets=("tickets/3.safetensors",),
    weights="weights.pth",
    controls=("dense",),
    seeds=(4,),
)
COMMAND = "study tiny.py --tickets tickets/3.safetensors --weights weights.pth --controls dense"
SLURM = Submission("slurm", {"time": 60})


@pytest.fixture(autouse=True)
def tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "slurm"
    for name, value in fake_slurm.install(folder).items():
        monkeypatch.setenv(name, value)
    SlurmJob.watcher.clear()
    return folder


@pytest.fixture(scope="module")
def expected(files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Mapping[str, Any]]:
    """What processes of this machine find."""
    before = Path.cwd()
    os.chdir(files)
    try:
        return timeless(run_study(SETTINGS, tmp_path_factory.mktemp("here"), 1)["results"])
    finally:
        os.chdir(before)


def test_a_job_that_gives_way_is_queued_again_and_results_are_the_same(
    place: Path, slurm: Path, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_DIES", "dense")
    monkeypatch.setenv("STUDY_SIGNAL", "SIGUSR2")  # as Slurm tells jobs whose machine it takes
    found = run_study(SETTINGS, "work", submission=SLURM)
    assert timeless(found["results"]) == expected
    assert (place / "work/seed_4/dense/has_died").exists()
    assert fake_slurm.calls(slurm, "sbatch") == 2
    assert fake_slurm.calls(slurm, "scontrol") == 1
    script = (slurm / "100.sh").read_text()
    assert "#SBATCH --time=60" in script
    assert "#SBATCH --job-name=lth.seed_4.dense" in script
    # And once more: nothing is left to do.
    again = run_study(SETTINGS, "work", submission=SLURM)
    assert timeless(again["results"]) == expected
    assert fake_slurm.calls(slurm, "sbatch") == 2


@pytest.mark.long
def test_a_job_that_dies_is_one_line_and_submitted_again(
    place: Path,
    slurm: Path,
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STUDY_DIES", "dense")
    with pytest.raises(JobError, match=r"dense failed: its submission 10\d ended without a result"):
        run_study(SETTINGS, "work", submission=SLURM)
    told = capfd.readouterr().err
    found = run_study(SETTINGS, "work", submission=SLURM)
    assert timeless(found["results"]) == expected
    # The other one was left alone, whether it was at work or finished by then.
    assert fake_slurm.calls(slurm, "sbatch") == 3
    if "go on without this command" in told:
        assert "scancel 10" in told


@pytest.mark.long
@pytest.mark.parametrize("executor", ["slurm", "local"])
def test_the_command_is_killed_and_its_jobs_are_found_again(
    executor: str, place: Path, slurm: Path, expected: Any
) -> None:
    options = ["--seeds", "4", "--submit", executor, "--submit-options", "time=60"]
    words = [sys.executable, "-m", "lth_core.cli", *COMMAND.split(), "--work-dir", "work", *options]
    submitted = place / "work" / SUBMITTED / "seed_4"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        until = time.monotonic() + 120
        while len(list(submitted.glob("*/submission.json"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    records = {path: path.read_text() for path in submitted.glob("*/submission.json")}
    found = run_study(SETTINGS, "work", submission=Submission(executor, {"time": 60}))
    assert timeless(found["results"]) == expected
    assert {path: path.read_text() for path in submitted.glob("*/submission.json")} == records
    assert len(list(submitted.glob("*/*_submitted.pkl"))) == 2


@pytest.mark.long
def test_two_submissions_of_a_job_do_it_once(place: Path, slurm: Path, expected: Any) -> None:
    """One is lost sight of when the command dies between submitting and noting it."""
    folder = place / "work" / SUBMITTED / "seed_4"
    alone = Settings(**{**vars(SETTINGS), "controls": ("none",)})
    give = Cluster.give

    def twice(self: Cluster, order: Any) -> Any:
        give(self, order)
        (folder / order.job.path[0] / "submission.json").unlink()
        self._jobs.clear()
        return give(self, order)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "give", twice)
        found = run_study(alone, "work", submission=SLURM)
    assert timeless(found["results"]) == expected[1:]
    log = Store(place / "work", "lth study").log("seed_4/imp_toy_level_03").read_text()
    assert fake_slurm.calls(slurm, "sbatch") == 2
    assert log.count("Saving checkpoint at 1 epochs") == 1


@pytest.mark.parametrize(
    ("executor", "words", "reason"),
    [
        ("slurm", ["time=60", "partion=gpu"], "no 'partion'; did you mean 'partition'"),
        ("slurm", ["partition=gpu"], "Slurm wants to know for how long"),
        ("slurm", ["time=1-0:00"], "time is '1-0:00'; it must be a whole number"),
        ("slurm", ["time=0"], "time is 0"),
        ("slurm", ["60"], "'60' is not KEY=VALUE"),
        ("local", ["partition=gpu"], "--submit local has no 'partition'"),
    ],
)
def test_wrong_options(executor: str, words: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(executor, words)


def test_options_need_a_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    assert lth_command([*COMMAND.split(), "--submit-options", "time=60"]) == 2
    assert "--submit-options goes with --submit" in capsys.readouterr().err


def test_without_slurm(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(place))
    words = [*COMMAND.split(), "--submit", "slurm", "--submit-options", "time=60"]
    assert lth_command([*words, "--work-dir", "work"]) == 2
    assert "finds no srun here" in capsys.readouterr().err


def test_without_submitit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "lth_core.openmmlab.jobs.cluster")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert lth_command([*COMMAND.split(), "--submit", "slurm"]) == 2
    assert 'pip install "lth-core[cluster]"' in capsys.readouterr().err
