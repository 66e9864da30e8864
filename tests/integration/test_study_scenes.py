"""The study of scenes: its claims on numbers made up, and a tiny one from end to end."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lth_core.errors import ConfigError
from lth_core.openmmlab.jobs import CHECKPOINT, Store
from lth_core.openmmlab.launch import build_runner, load_config
from PIL import Image

from integration.scenes_tiny import TINY

from scenes import STUDY  # isort: skip  # which scenes_tiny makes importable
from scenes_claims import AP50, EXTREMES, judge  # isort: skip
from scenes_plan import PRETRAININGS, RANDOM, TASKS, Settings, build_plan  # isort: skip
from study_claims import FAILS, HOLDS, UNDECIDED, Row  # isort: skip
from study_plan import DENSE, NONE, ONE_SHOT, TASK, TRANSFERRED  # isort: skip

pytestmark = pytest.mark.long  # test_study runs the same way, quickly

SCRIPT = Path(__file__).with_name("scenes_tiny.py")
PLAN = build_plan(TINY)
FULL = Settings(variant_levels=(1, 3, 5), task_specific=tuple(PRETRAININGS))
Effect = Callable[[str, str, str, int, int], float]
"""What is added to a number, by task, weights, mask, level and seed."""


def world(effect: Effect) -> list[Row]:
    """A study's rows: 50, half a point more for each seed, and the effect."""
    kinds = [(NONE, DENSE, (0,))]
    for weights in PRETRAININGS:
        kinds += [(weights, DENSE, (0,)), (weights, TASK, FULL.levels)]
        kinds += [(weights, TRANSFERRED, FULL.levels)]
        kinds += [(weights, mask, FULL.variant_levels) for mask in (ONE_SHOT, RANDOM)]
    return [
        Row(
            seed, task, weights, mask, level, 0.0, measure.label,
            50 + seed / 2 + effect(task, weights, mask, level, seed), 1.0,
        )
        for task in TASKS
        for measure in TASKS[task].measures
        for weights, mask, levels in kinds
        for level in levels
        for seed in FULL.seeds
    ]  # fmt: skip


def verdicts(effect: Effect) -> dict[str, str]:
    found = judge(world(effect), FULL)
    # 15 that tickets match, 4 sparser, 4 better, 6 task-specific, 6 above dense, 18 of controls.
    assert len({each.claim for each in found}) == len(found) == 53
    return {each.claim: each.verdict for each in found}


def test_what_was_not_run_is_not_judged() -> None:
    some = Settings(variant_levels=(5,), task_specific=("labels",))
    rows = [
        row for row in world(lambda *_: 0.0)
        if (row.mask != TASK or row.weights == "labels")
        and (row.mask not in (ONE_SHOT, RANDOM) or row.level == 5)
    ]  # fmt: skip
    # Of matching m_T four are left out, and of comparisons with m_T eight.
    assert len(judge(rows, some)) == 53 - 4 - 8
    # The chain is dense, too; where there is none, dense is trained by itself.
    assert len(build_plan(some).jobs) == 3 * (6 + 2 * (1 + 3 * (1 + 5 + 2))) + 2


def test_where_all_are_alike_tickets_match_and_no_one_is_better() -> None:
    for claim, verdict in verdicts(lambda *_: 0.0).items():
        assert verdict == (HOLDS if "matches" in claim or "at least as" in claim else UNDECIDED)


def test_a_world_as_the_paper_found_it() -> None:
    # Levels of 48.80, 73.79, 86.58, 93.13 and 96.48 %; what is better is so beyond its extreme.
    matching = {"det": {"labels": 2, "simclr": 1, "mocov2": 2},
                "seg": {"labels": 1, "simclr": 0, "mocov2": 3}}  # fmt: skip
    rank = {"simclr": 0.0, "labels": 0.1, "mocov2": 0.2}

    def effect(task: str, weights: str, mask: str, level: int, seed: int) -> float:
        if weights == NONE or mask in (ONE_SHOT, RANDOM):
            return -20.0
        if mask == DENSE:
            return 0.0
        if mask == TASK:
            return 5.0
        return rank[weights] if level <= matching[task][weights] else -5.0 + rank[weights]

    found = verdicts(effect)
    # Of AP50 SimCLR goes further than of AP; here they are one and the same. And with 36 % below
    # all levels of the study, SimCLR matches in segmentation at none.
    against = {claim for claim, verdict in found.items() if verdict != HOLDS}
    assert against == {
        "detection, AP50: (m_P, θ_P) matches dense at 83.22 % or more: labels",
        "detection, AP50: (m_P, θ_P) matches dense at 89.26 % or more: SimCLR",
        "segmentation, mIoU: (m_P, θ_P) matches dense at 36.00 % or more: SimCLR",
    }
    assert {found[claim] for claim in against} == {FAILS}


def test_a_world_that_contradicts_the_paper() -> None:
    rank = {"simclr": 2.0, "labels": 1.0, "mocov2": 0.0}

    def effect(task: str, weights: str, mask: str, level: int, seed: int) -> float:
        if weights == NONE:
            return 60.0
        if mask == DENSE:
            return 30.0
        return {TRANSFERRED: rank[weights], TASK: -9.0}.get(mask, 9.0)

    for claim, verdict in verdicts(effect).items():
        none = "goes" in claim  # neither matches at all
        tie = HOLDS if "at least as" in claim else UNDECIDED
        assert verdict == (tie if none else FAILS), claim


def test_ap50_is_judged_by_itself() -> None:
    rows = [
        row
        if row.metric != AP50 or row.mask == DENSE
        else Row(**{**row.__dict__, "value": row.value - 20})
        for row in world(lambda *_: 0.0)
    ]
    for each in judge(rows, FULL):
        if "matches" in each.claim:
            assert each.verdict == (FAILS if AP50 in each.claim else HOLDS), each.claim


def test_matching_is_asked_for_at_the_papers_sparsity() -> None:
    """Rounded as the paper rounds: 73.7856 % counts as 73.79 %; never above what was trained."""

    def effect(task: str, weights: str, mask: str, level: int, seed: int) -> float:
        return -9.0 if mask in (TASK, TRANSFERRED) and level > 2 else 0.0

    found = verdicts(effect)
    assert found["detection, AP: (m_P, θ_P) matches dense at 73.79 % or more: labels"] == HOLDS
    assert found["detection, AP: (m_T, θ_P) matches dense at 93.13 % or more: SimCLR"] == FAILS
    assert found["detection, AP: (m_T, θ_P) matches dense at 96.48 % or more: MoCo v2"] == FAILS
    assert max(EXTREMES["det", "AP", TASK]) > 96.48


def test_clear_differences_of_single_levels_are_marked() -> None:
    """Level 2 alone differs, by nearly the same in every seed; the others scatter around zero."""

    def effect(task: str, weights: str, mask: str, level: int, seed: int) -> float:
        if mask != TASK:
            return 0.0
        return 4.0 + 0.01 * seed if level == 2 else (1.0, -1.0, 0.3)[seed]

    found = {each.claim: each.here for each in judge(world(effect), FULL)}
    here = found["segmentation, mIoU: (m_T, θ_P) is better than (m_P, θ_P): labels"]
    assert re.findall(r"(\S+) at (\S+) %", here) == [
        ("+0.1", "48.80"), ("+4.0*", "73.79"), ("+0.1", "86.58"), ("+0.1", "93.13"),
        ("+0.1", "96.48"),
    ]  # fmt: skip


def test_seeds_differ_in_everything_that_is_drawn() -> None:
    plan = build_plan(FULL)
    assert len(plan.jobs) == 3 * (6 + 2 * (1 + 3 * (1 + 5 + 2 * 3))) + 2
    for job in plan.jobs.values():
        if job.stage == "pictures":
            continue
        seed = int(job.path[0].removeprefix("seed_"))
        drawn = [job.options["randomness.seed"]]
        drawn += [job.options["imp"]["seed"]] if "imp" in job.options else []
        drawn += [job.options["ticket.variant"]["seed"]] if job.path[-1].startswith(RANDOM) else []
        assert set(drawn) == {seed}, job.name
        assert all(f"/seed_{seed}/" in name for name in job.needs)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"seeds": ()}, "seeds are"),
        ({"levels": (1, 6)}, "levels are"),
        ({"levels": (1, 2), "variant_levels": (3,)}, "variant_levels"),
        ({"task_specific": ()}, "task_specific is"),
        ({"task_specific": ("labels", "rotnet")}, "name some of labels, simclr, mocov2"),
    ],
)
def test_wrong_settings(settings: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Settings(**settings)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--jobs", "0"], "--jobs is a whole number"),
        (["--seeds", "-1"], "--seeds are whole numbers"),
        (["--seeds", "1", "1"], "seeds are (1, 1)"),
        (["--levels", "3"], "--levels"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        code = STUDY.main([*arguments, "--work-dir", str(tmp_path)])
    except SystemExit as end:  # as argparse ends
        code = int(end.code or 0)
    assert code == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_study_from_end_to_end_goes_on_after_a_kill(tmp_path: Path) -> None:
    root = tmp_path / "work"
    command = [sys.executable, str(SCRIPT), str(root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    deadline = time.monotonic() + 900
    while len(list(root.glob("*/*/*/metrics.json"))) < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(Store(root, PLAN.owner).finished(PLAN))
    again = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{before} of {len(PLAN.jobs)} jobs finished before" in again.stdout
    results = Store(root, PLAN.owner).finished(PLAN)
    assert results.keys() == PLAN.jobs.keys()

    with open(root / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = {
        (r["task"], r["weights"], r["mask"], int(r["level"]), r["metric"]): float(r["value"])
        for r in rows
    }
    assert len(numbers) == len(rows)
    for name, start in PLAN.starts.items():
        task = PLAN.jobs[name].stage
        for measure in TASKS[task].measures:
            key = (task, start.weights, start.mask, start.level, measure.label)
            expected = measure.of(results[name].metrics)
            assert numbers[key] == pytest.approx(expected, abs=1e-5)
    assert {r["sparsity"] for r in rows if r["level"] == "1"} == {"0.488"}

    page = (root / "README.md").read_text()
    claims = json.loads((root / "verdicts.json").read_text())
    assert len(re.findall(r"\*\*(holds|does not hold|undecided)\*\* \|", page)) == len(claims)
    assert str(root) not in page
    for picture in ("curves.svg", "predictions.png"):
        assert f"]({picture})" in page
    assert (root / "curves.svg").read_text().count("<svg") == 1
    assert Image.open(root / "predictions.png").width > 400

    for task in TASKS:
        chain = root / f"task_imp/seed_0/{task}/labels"
        for level, of in ((0, root / "imp/seed_0/labels"), (1, chain)):
            at = f"level_{level:02d}"
            trained = _train_from(of / at / "ticket.safetensors", task, tmp_path / f"{task}_{at}")
            own = torch.load(chain / at / CHECKPOINT, map_location="cpu", weights_only=False)
            assert trained.keys() == own["state_dict"].keys()
            assert all(torch.equal(trained[key], own["state_dict"][key]) for key in trained)


def _train_from(ticket: Path, task: str, directory: Path) -> dict[str, torch.Tensor]:
    """What levels of m_T's chain are compared with: trainings from tickets, alike in all else."""
    job = PLAN.jobs[f"{task}/seed_0/labels/{TRANSFERRED}_01"]
    cfg = load_config(job.config)
    cfg.merge_from_dict({**job.options, "ticket.path": str(ticket)})
    cfg.work_dir = str(directory)
    build_runner(cfg).train()
    return torch.load(directory / CHECKPOINT, map_location="cpu", weights_only=False)["state_dict"]
