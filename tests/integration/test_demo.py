"""``lth demo`` from end to end, with trainings of a few steps."""

from __future__ import annotations

import csv
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lth_core import results
from lth_core.cli import main
from lth_core.errors import LTHError, RunError
from lth_core.matching import match
from lth_core.openmmlab.demo import run_demo
from lth_core.openmmlab.demo.plan import PRETRAININGS, TASKS, DemoTraining, build_plan
from lth_core.openmmlab.demo.report import METRICS
from lth_core.openmmlab.jobs import JobError, Store
from lth_core.openmmlab.jobs.worker import Failure, Order, attempt
from lth_core.ticket import Ticket

from integration.demo_tiny import tiny

SCRIPT = Path(__file__).with_name("demo_tiny.py")
PLAN = build_plan(tiny())
STARTS = ("dense", "ticket_01", "random_01")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished demo's directory, and what it printed."""
    root = tmp_path_factory.mktemp("demo") / "work"
    return root, demo(root)


@pytest.fixture
def copy(done: tuple[Path, str], tmp_path: Path) -> Path:
    """A finished demo of one's own."""
    return Path(shutil.copytree(done[0], tmp_path / "work"))


def demo(root: Path, stage: str = "all", jobs: int = 1) -> str:
    command = [sys.executable, str(SCRIPT), stage, str(root), str(jobs)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
    return result.stdout


def markers(root: Path) -> dict[str, dict]:
    return {name: json.loads((root / name / "metrics.json").read_text()) for name in PLAN.jobs}


def rows(root: Path) -> list[dict[str, str]]:
    with open(root / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_the_table_is_a_finished_jobs(done: tuple[Path, str]) -> None:
    root, printed = done
    found = {
        (r["task"], r["pretraining"], r["start"], int(r["level"])): r
        for r in rows(root)
        if r["task"] in TASKS
    }
    wanted = [job for job in PLAN.jobs.values() if job.stage in TASKS]
    assert len(found) == len(wanted) == 27
    marker = markers(root)
    for job in wanted:
        assert isinstance(job, DemoTraining)
        task = TASKS[job.stage]
        row = found[job.stage, job.pretraining, job.start.kind, job.start.level]
        value = task.scale * marker[job.name]["metrics"][task.metric]
        assert float(row["value"]) == pytest.approx(value, abs=1e-6)
        assert row["metric"] == METRICS[task.metric]
        assert float(row["sparsity"]) == pytest.approx(0.2 * bool(job.start.level), abs=1e-4)
    for name, pretraining in PRETRAININGS.items():
        for kind, level in (("dense", 0), ("ticket", 1), ("random", 1)):
            values = [float(found[task, name, kind, level]["value"]) for task in TASKS]
            cells = [f"{v:.{t.digits}f}" for v, t in zip(values, TASKS.values(), strict=True)]
            line = f"{kind} *│ *{20.0 * level:.2f} *│ *{' *│ *'.join(map(re.escape, cells))}"
            assert re.search(line, printed), f"{pretraining.title}: {line}"


def test_levels_of_the_chains_are_rows_too(done: tuple[Path, str]) -> None:
    found = [r for r in rows(done[0]) if r["task"] == "imp"]
    assert [(r["pretraining"], r["level"]) for r in found] == [
        (name, level) for name in PRETRAININGS for level in ("0", "1")
    ]
    for row in found:
        level = done[0] / "imp" / row["pretraining"] / f"level_{int(row['level']):02d}"
        metrics = json.loads((level / "metrics.json").read_text())["metrics"]
        key = PRETRAININGS[row["pretraining"]].metric
        assert float(row["value"]) == pytest.approx(metrics[key], abs=1e-6)
        assert Ticket.load(level / "ticket.safetensors").masks.sparsity == pytest.approx(
            float(row["sparsity"]), abs=1e-6
        )


def test_results_of_all_trainings_can_be_matched(done: tuple[Path, str]) -> None:
    recorded = [r for r in results.read([done[0]]) if r.task == TASKS["cls"].title]
    titles = [each.title for each in PRETRAININGS.values()]
    assert {(r.weights, r.mask, r.variant, r.level) for r in recorded} == {
        *((title, "dense", "", 0) for title in titles),
        *((title, f"imp on {title}", "", 1) for title in titles),
        *((title, f"imp on {title}", "random", 1) for title in titles),
    }
    assert len({r.config for r in recorded}) == 1
    metrics = markers(done[0])["cls/labels/ticket_01"]["metrics"]
    start = ("labels", "imp on labels", "")
    (ticket,) = [r for r in recorded if (r.weights, r.mask, r.variant) == start]
    assert ticket.value == metrics[ticket.metric]
    families = {each.family.start for each in match(recorded)}
    assert families == {
        (title, f"imp on {title}", variant) for title in titles for variant in ("", "random")
    }


def test_report_is_one_file_with_the_same_numbers(done: tuple[Path, str]) -> None:
    page = (done[0] / "report.html").read_text()
    table = page[page.index("What each start leads to") :].partition("</table>")[0]
    lines = [re.findall(r'<td class="number">([^<]+)<', row) for row in table.split("<tr>")[2:]]
    assert {line[0] for line in lines} == {"0.00", "20.00"}
    cells = [value for line in lines for value in line[1:]]
    values = {(r["task"], r["pretraining"], r["start"]): float(r["value"]) for r in rows(done[0])}
    assert cells == [
        f"{values[task, name, start]:.{TASKS[task].digits}f}"
        for name in PRETRAININGS
        for start in ("dense", "ticket", "random")
        for task in TASKS
    ]
    assert not re.search(r'(src|href)="(?!data:|#)', page), "it needs another file"
    assert page.count("data:image/jpeg") == 2 * 3 * 4
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert sections[:2] == ["results", "predictions"]
    assert {"layers", "similarity", "kernels", "provenance", "making"} < set(sections)
    assert str(done[0]) not in page
    assert "One training each, seed 0" in page


def test_progress_is_a_line_for_each_job(done: tuple[Path, str]) -> None:
    _, printed = done
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    assert len(lines) == len(PLAN.jobs) == 35
    assert all(re.search(r"\d:\d\d elapsed, about \d+:\d\d left$", line) for line in lines)
    assert "mmengine" not in printed
    assert "total" in printed.splitlines()[-1]


def test_second_run_trains_nothing(copy: Path) -> None:
    before = {name: (copy / name / "metrics.json").stat().st_mtime_ns for name in PLAN.jobs}
    page = (copy / "results.csv").read_text()
    printed = demo(copy)
    assert "35 of 35 jobs finished before" in printed
    assert not [line for line in printed.splitlines() if line.startswith("[")]
    after = {name: (copy / name / "metrics.json").stat().st_mtime_ns for name in PLAN.jobs}
    assert after == before
    assert (copy / "results.csv").read_text() == page


def test_only_what_depends_on_a_change_is_done_again(copy: Path) -> None:
    (copy / "det/labels/dense/final.pth").unlink()
    printed = demo(copy)
    names = [line.partition(": ")[0] for line in printed.splitlines() if line.startswith("[")]
    assert names == ["[34/35] det · labels · dense", "[35/35] report · pictures of detection"]


def test_changed_configs_and_inputs_make_results_stale(copy: Path) -> None:
    store = Store(copy, PLAN.owner)
    assert store.finished(PLAN).keys() == PLAN.jobs.keys()
    faster = build_plan(tiny(det={"optim_wrapper.optimizer.lr": 0.01}))
    stale = PLAN.jobs.keys() - store.finished(faster).keys()
    assert stale == {n for n in PLAN.jobs if n.startswith("det/")} | {"report/det"}
    ticket = copy / "imp/simclr/level_01/ticket.safetensors"
    ticket.write_bytes(ticket.read_bytes()[:-1])
    stale = PLAN.jobs.keys() - store.finished(PLAN).keys()
    assert stale == {"imp/simclr"} | {f"{t}/simclr/{s}" for t in TASKS for s in STARTS}


def test_report_alone_trains_nothing(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "seg")
    shutil.rmtree(copy / "report")
    printed = demo(copy, "report")
    assert not (copy / "seg").exists()
    assert (copy / "report/det/metrics.json").exists()
    assert re.search(r"dense *│ *0.00 *│ *[\d.]+ *│ *[\d.]+ *│ *– ", printed)
    with pytest.raises(LTHError, match=r"nothing in .* is finished .*; run lth demo first"):
        run_demo(tiny(), "report", tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("hook", "reason"),
    [("FailHook", "ValueError: deliberately;"), ("DieHook", r"its process died \(SIGKILL\);")],
)
def test_failing_job_ends_the_run_in_one_line(copy: Path, hook: str, reason: str) -> None:
    broken = tiny(cls={"custom_hooks": [{"type": f"integration.demo_tiny.{hook}"}]})
    before = set(multiprocessing.active_children())  # of other tests: mmdet's metric leaves some
    with pytest.raises(JobError, match=rf"^job cls/\S+ failed: {reason} see \S+log.txt$") as caught:
        run_demo(broken, "cls", copy, jobs=1)
    message = str(caught.value)
    assert "\n" not in message
    log = Path(message.rpartition("see ")[2])
    if hook == "FailHook":
        assert "Traceback" in log.read_text()
    assert set(multiprocessing.active_children()) <= before
    assert Store(copy, PLAN.owner).finished(PLAN).keys() >= {
        n for n in PLAN.jobs if not n.startswith("cls/")
    }


def test_config_that_changes_meanwhile_is_noticed(copy: Path) -> None:
    job = PLAN.jobs["cls/labels/dense"]
    outcome = attempt(Order(job, digest="", config="as it was", root=str(copy), owner=PLAN.owner))
    assert isinstance(outcome, Failure)
    assert outcome.reason == f"{job.config} has changed since lth demo began; run it again"
    assert job.name not in Store(copy, PLAN.owner).finished(PLAN)


def test_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "work/pretrain/labels/precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("!")
    with pytest.raises(JobError, match="is not empty, and not of lth demo"):
        run_demo(tiny(), "pretrain", tmp_path / "work", jobs=1)
    assert precious.read_text() == "!"


def test_directory_of_a_chain_is_refused(tmp_path: Path) -> None:
    (tmp_path / "imp.json").write_text("{}")
    with pytest.raises(RunError, match="holds rounds of pruning; use another --work-dir"):
        run_demo(tiny(), "pretrain", tmp_path, jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["imp.json"]


def test_kill_while_a_job_is_marked_as_begun_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    store, job = Store(tmp_path, PLAN.owner), PLAN.jobs["pretrain/labels"]
    directory = store.directory(job.name)
    directory.mkdir(parents=True)
    (directory / ".job.json.a1b2c3d4").write_text('{"job": "pre')
    store.begin(job, "digest")
    assert [path.name for path in directory.iterdir()] == ["job.json"]


@pytest.mark.parametrize(
    "arguments",
    [["--stage", "detection"], ["--jobs", "0"], ["--seed", "-1"], ["--job", "1"], ["all"]],
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "lth_det" else real(name, *a)
    )
    assert main(["demo", "--stage", "det", "--work-dir", str(tmp_path / "work")]) == 2
    expected = "error: lth demo --stage det needs lth-det: pip install packages/lth-det\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "work").exists()


@pytest.mark.long
def test_results_do_not_depend_on_the_number_of_processes(
    done: tuple[Path, str], tmp_path: Path
) -> None:
    demo(tmp_path / "work", jobs=3)
    one, three = (
        [{**row, "seconds": ""} for row in rows(root)] for root in (done[0], tmp_path / "work")
    )
    assert one == three


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_run_leaves_no_process_and_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    root = tmp_path / "work"
    command = [sys.executable, str(SCRIPT), "imp", str(root), "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background has no ear for Ctrl-C, nor have its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    group = process.pid
    deadline = time.monotonic() + 900
    while not list(root.glob("pretrain/*/metrics.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if how == signal.SIGINT:
        os.killpg(group, how)  # as a terminal does
    else:
        process.kill()
    _, complaint = process.communicate(timeout=300)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert complaint == "interrupted; run the same command again to go on\n"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    else:
        pytest.fail("a process goes on")
    finished = len(list(root.glob("*/*/metrics.json")))
    assert f"{finished} of 6 jobs finished before" in demo(root, "imp")
