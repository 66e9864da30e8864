"""The study of transfer: its arithmetic on numbers made up, and a tiny one from end to end."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lth_core.errors import ConfigError
from lth_core.openmmlab.jobs import Store
from lth_core.statistics import Interval

from integration.study_tiny import TINY

from study_claims import (  # isort: skip  # which study_tiny makes importable
    FAILS, HOLDS, UNDECIDED, Numbers, Row, at_least, extremes, greater, matching, within,
)  # fmt: skip
from study_plan import DENSE, NONE, ONE_SHOT, REINIT, TASK, TRANSFERRED  # isort: skip
from transfer_claims import judge  # isort: skip
from transfer_plan import (  # isort: skip
    PAPERS_VARIANTS, PRETRAININGS, VARIANTS, Settings, build_plan,
)  # fmt: skip

SCRIPT = Path(__file__).with_name("study_tiny.py")
PLAN = build_plan(TINY)
FULL = Settings()
Effect = Callable[[str, str, str, int, int], float]
"""What is added to a number, by task, weights, mask, level and seed."""


@pytest.mark.parametrize(
    ("low", "high", "verdicts"),
    [
        (0.1, 2.0, (HOLDS, HOLDS, UNDECIDED)),
        (-0.1, 2.0, (UNDECIDED, UNDECIDED, UNDECIDED)),
        (-2.0, -0.1, (FAILS, FAILS, UNDECIDED)),
        (0.0, 0.0, (UNDECIDED, HOLDS, HOLDS)),
        (-0.9, 0.9, (UNDECIDED, UNDECIDED, HOLDS)),
        (1.1, 2.0, (HOLDS, HOLDS, FAILS)),
        (-2.0, -1.1, (FAILS, FAILS, FAILS)),
    ],
)
def test_intervals_decide(low: float, high: float, verdicts: tuple[str, str, str]) -> None:
    found = Interval((low + high) / 2, low, high, 3)
    assert (greater(found), at_least(found), within(found, 1.0)) == verdicts


def world(effect: Effect) -> list[Row]:
    """A study's rows: 80, half a point more for each seed, and the effect."""
    kinds: list[tuple[str, str, str, tuple[int, ...]]] = []
    chain = tuple(range(1, FULL.rounds + 1))
    for weights in (*PRETRAININGS, NONE):
        kinds += [("transfer", weights, DENSE, (0,)), ("transfer", weights, TASK, chain)]
    for weights in PRETRAININGS:
        kinds += [("own", weights, DENSE, (0,)), ("own", weights, TRANSFERRED, chain)]
        kinds += [("transfer", weights, mask, FULL.levels) for mask in (TRANSFERRED, ONE_SHOT)]
        for mask in (*VARIANTS, REINIT):
            kinds.append(("transfer", weights, mask, FULL.variant_levels))
    kinds += [("transfer", NONE, mask, FULL.variant_levels) for mask in PAPERS_VARIANTS]
    return [
        Row(
            seed, task, weights, mask, level, 0.0, "accuracy",
            80 + seed / 2 + effect(task, weights, mask, level, seed), 1.0,
        )
        for task, weights, mask, levels in kinds
        for level in levels
        for seed in FULL.seeds
    ]  # fmt: skip


def verdicts(effect: Effect) -> dict[str, str]:
    found = judge(world(effect), FULL)
    assert len({each.claim for each in found}) == len(found) == 55
    return {each.claim: each.verdict for each in found}


def nothing(*_: object) -> float:
    return 0.0


def test_where_all_are_alike_no_one_is_better() -> None:
    found = verdicts(nothing)
    for claim, verdict in found.items():
        alike = "matches" in claim or "as good as" in claim or "at least as" in claim
        assert verdict == (HOLDS if alike or "no better" in claim else UNDECIDED), claim


def test_a_world_as_the_paper_found_it() -> None:
    own = {"labels": 5, "simclr": 4, "mocov2": 14}
    transferred = {"labels": 9, "simclr": 9, "mocov2": 10}
    task = {"labels": 16, "simclr": 16, "mocov2": 11}

    def effect(where: str, weights: str, mask: str, level: int, seed: int) -> float:
        if weights not in PRETRAININGS:
            return -10.0
        if where == "own":
            sign = PRETRAININGS[weights].sign
            return 0.0 if level <= own[weights] else -5.0 * sign
        if mask in (DENSE, TRANSFERRED):
            return 0.0 if level <= transferred[weights] else -5.0
        if mask == TASK:
            return 0.0 if level <= task[weights] else -6.0
        return -10.0

    assert set(verdicts(effect).values()) == {HOLDS}


def test_a_world_that_contradicts_the_paper() -> None:
    def effect(where: str, weights: str, mask: str, level: int, seed: int) -> float:
        if mask == DENSE:
            return 30.0 if where == "transfer" else 30.0 * PRETRAININGS[weights].sign
        if weights == NONE:
            return {"task": 5.0}.get(mask, -5.0)
        if where == "own":
            return 0.0
        return {TRANSFERRED: -8.0, TASK: -8.0, "complement": 9.0}.get(mask, 1.0)

    found = verdicts(effect)
    for claim, verdict in found.items():
        tied = "goes sparser" in claim or ("is better than (m_" in claim and "θ0" not in claim)
        at_zero = "at least as" in claim  # neither has any
        assert verdict == (UNDECIDED if tied else HOLDS if at_zero else FAILS), claim


def test_what_changes_sides_between_seeds_is_undecided() -> None:
    def effect(where: str, weights: str, mask: str, level: int, seed: int) -> float:
        return (3.0, -3.0, 1.0)[seed] if mask in (*VARIANTS, REINIT, ONE_SHOT) else 0.0

    found = verdicts(effect)
    for claim, verdict in found.items():
        if "worse than the ticket" in claim or "one-shot" in claim or "as good as" in claim:
            assert verdict == UNDECIDED, claim


def test_not_matching_but_close_is_undecided() -> None:
    """Dense runs are alike to a tenth of a point, tickets scatter around a mean below."""

    def effect(where: str, weights: str, mask: str, level: int, seed: int) -> float:
        base = -seed / 2  # takes the seeds' own differences out
        return base + (0.1 * seed if mask == DENSE else (0.5, -3.0, 0.5)[seed])

    found = verdicts(effect)
    assert (
        found["(m_T, θ_P) matches dense downstream at 59 % sparsity or more: labels"] == UNDECIDED
    )


def test_matching_is_within_one_standard_deviation() -> None:
    def drop(value: float) -> list[int]:
        rows = world(lambda _, __, mask, level, ___: -value if level == 8 else 0.0)
        return matching(Numbers(rows), "transfer", "labels", TRANSFERRED, (4, 8, 10))

    # Of 80, 80.5 and 81 the sample standard deviation is 0.5.
    assert drop(0.499) == [4, 8, 10]
    assert drop(0.501) == [4, 10]
    rows = world(lambda _, __, mask, level, seed: -1.0 if level > 4 + 4 * seed else 0.0)
    found = extremes(Numbers(rows), "transfer", "labels", TRANSFERRED, FULL.levels)
    assert found == {0: pytest.approx(59.04), 1: pytest.approx(83.22, abs=0.01),
                     2: pytest.approx(93.13, abs=0.01)}  # fmt: skip


def test_seeds_differ_in_everything_that_is_drawn() -> None:
    jobs = list(build_plan(FULL).jobs.values())
    assert len(jobs) == 507
    for job in jobs:
        seed = int(job.path[0].removeprefix("seed_"))
        drawn = [job.options["randomness.seed"]]
        drawn += [job.options["imp"]["seed"]] if "imp" in job.options else []
        drawn += [job.options["ticket.seed"]] if job.path[-1].startswith(REINIT) else []
        variant = job.options.get("ticket.variant", {})
        drawn += [variant["seed"]] if variant and variant["type"] != "complement" else []
        assert set(drawn) == {seed}, job.name
        assert all(f"/seed_{seed}/" in name for name in job.needs)


def test_no_two_jobs_are_called_alike_in_files_of_results() -> None:
    jobs = list(build_plan(FULL).jobs.values())
    called = {
        (
            *job.options["record"].values(),
            "imp" in job.options,
            job.options["randomness.seed"],
            job.files.get("ticket.path", ("", ""))[1],
            str(job.options.get("ticket.variant")),
            job.options.get("ticket.weights"),
        )
        for job in jobs
    }
    assert len(called) == len(jobs)
    tasks = {job.options["record"]["task"] for job in jobs if job.stage in ("transfer", "task_imp")}
    assert tasks == {"transfer", "chain"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"seeds": ()}, "seeds are"),
        ({"seeds": (1, 1)}, "seeds are"),
        ({"levels": (4, 17)}, "levels are"),
        ({"variant_levels": (5,)}, "variant_levels"),
    ],
)
def test_wrong_settings(settings: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Settings(**settings)


def test_study_from_end_to_end_goes_on_after_a_kill(tmp_path: Path) -> None:
    root = tmp_path / "work"
    command = [sys.executable, str(SCRIPT), str(root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 900
    while len(list(root.glob("*/*/*/metrics.json"))) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(Store(root, PLAN.owner).finished(PLAN))
    again = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{before} of {len(PLAN.jobs)} jobs finished before" in again.stdout

    with open(root / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    results = Store(root, PLAN.owner).finished(PLAN)
    assert results.keys() == PLAN.jobs.keys()
    for name, start in PLAN.starts.items():
        mine = [
            r for r in rows
            if (r["task"], r["weights"], r["mask"], int(r["level"]), int(r["seed"]))
            == ("transfer", start.weights, start.mask, start.level, PLAN.seeds[name])
        ]  # fmt: skip
        (row,) = mine
        accuracy = results[name].metrics["accuracy/top1"]
        assert float(row["value"]) == pytest.approx(accuracy, abs=1e-5)
    sparsities = {r["mask"]: float(r["sparsity"]) for r in rows if r["level"] == "1"}
    assert sparsities[TRANSFERRED] == sparsities[ONE_SHOT] == pytest.approx(0.2, abs=1e-4)
    assert sparsities["complement"] == pytest.approx(0.8, abs=1e-4)
    assert sparsities["perturb"] == pytest.approx(0.9 * 0.2 + 0.1 * 0.8, abs=1e-4)

    page = (root / "README.md").read_text()
    claims = json.loads((root / "verdicts.json").read_text())
    assert len(re.findall(r"\*\*(holds|does not hold|undecided)\*\* \|", page)) == len(claims)
    assert str(root) not in page
    assert "curves.svg" in page
    assert (root / "curves.svg").read_text().count("<svg") == 1
