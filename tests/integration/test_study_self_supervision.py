"""The study of pruning with self-supervision: its claims on numbers made up, and a tiny one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lth_core.openmmlab.jobs import CHECKPOINT

from integration.self_supervision_tiny import TINY
from integration.study_end import run_to_its_end

from self_supervision_claims import FEATURES, FINE_TUNING, ON_LABELS, ZEROS, judge  # isort: skip
from self_supervision_features import linear_accuracy  # isort: skip
from self_supervision_plan import (  # isort: skip
    CLOCKS, DEPTHS, FINE_TUNED, LAYER_WISE, PRE_PRUNED, PRUNED_LATER, PRUNING, RANDOM,
    REWIND_AT, SELF_SUPERVISED, WINNING, Settings, build_plan, up_to,
)  # fmt: skip
from study_claims import FAILS, HOLDS, UNDECIDED, Row  # isort: skip
from study_plan import DENSE, NONE, REINIT  # isort: skip

SCRIPT = Path(__file__).with_name("self_supervision_tiny.py")
PLAN = build_plan(TINY)
FULL = Settings()
OTHER_CLOCKS = [name for name, at in CLOCKS.items() if at != REWIND_AT["few_labels"]]
Effect = Callable[[str, str, str, int, int], float]
"""What is added to a number, by task, weights, mask, level and seed."""


def world(effect: Effect) -> list[Row]:
    """A study's rows: 50, half a point more for each seed, and the effect."""
    chain = tuple(range(1, FULL.rounds + 1))
    kinds = [(ON_LABELS, NONE, RANDOM, FULL.levels), (ZEROS, "labels", DENSE, (0,))]
    kinds += [(ON_LABELS, n, up_to(last), (FULL.deep,)) for n in LAYER_WISE for last in DEPTHS]
    kinds += [(ON_LABELS, clock, WINNING, FULL.levels) for clock in OTHER_CLOCKS]
    for name in PRUNING:
        kinds += [(ON_LABELS, name, DENSE, (0,)), (FEATURES, name, DENSE, (0,))]
        kinds += [(ON_LABELS, name, mask, FULL.levels) for mask in (WINNING, REINIT)]
        kinds += [(FEATURES, name, WINNING, chain)]
    for name in FINE_TUNED:
        kinds += [(FINE_TUNING, name, m, FULL.variant_levels) for m in (PRE_PRUNED, PRUNED_LATER)]
    return [
        Row(
            seed, task, weights, mask, level, 0.0, "accuracy",
            50 + seed / 2 + effect(task, weights, mask, level, seed), 1.0,
        )
        for task, weights, mask, levels in kinds
        for level in levels
        for seed in FULL.seeds
    ]  # fmt: skip


def verdicts(effect: Effect) -> dict[str, str]:
    found = judge(world(effect), FULL)
    # 7 of masks, 7 with fresh weights, 3 of few labels, 1, 8 of features, 2, 3 clocks, 1 of zeros.
    assert len({each.claim for each in found}) == len(found) == 32
    return {each.claim: each.verdict for each in found}


def test_where_all_are_alike_no_one_is_better() -> None:
    for claim, verdict in verdicts(lambda *_: 0.0).items():
        alike = "as good as" in claim
        assert verdict == (HOLDS if alike or "by themselves" in claim else UNDECIDED), claim


def test_a_world_as_the_paper_found_it() -> None:
    rank = {"labels": 10.0, "s4l": 9.0, "few_labels": 8.0, "rotnet": 7.0}

    def effect(task: str, weights: str, mask: str, level: int, seed: int) -> float:
        if task == FEATURES:
            return 0.0 if mask == DENSE else 0.2 if level <= 10 else -9.0
        if task == FINE_TUNING:
            return 5.0 if mask == PRE_PRUNED else 0.0
        if task == ZEROS:
            return 30.0
        if weights in OTHER_CLOCKS or mask == REINIT:
            return -1.0
        if mask.startswith("up_to"):
            return 1.0
        return -9.0 if mask == RANDOM else rank.get(weights, 6.0)

    assert set(verdicts(effect).values()) == {HOLDS}


def test_a_world_that_contradicts_the_paper() -> None:
    rank = {"labels": 1.0, "s4l": 2.0, "few_labels": 3.0, "rotnet": 4.0}

    def effect(task: str, weights: str, mask: str, level: int, seed: int) -> float:
        if task == FEATURES:
            return 0.0 if mask == DENSE else -9.0 if level <= 10 else 9.0
        if task == FINE_TUNING:
            return -5.0 if mask == PRE_PRUNED else 0.0
        if task == ZEROS:
            return -40.0
        if mask.startswith("up_to"):
            return 30.0 if weights == "labels" else 0.0
        if mask == REINIT:
            return 9.0 if weights == "labels" else 20.0
        return 9.0 if mask == RANDOM or weights in OTHER_CLOCKS else rank.get(weights, 5.0)

    assert set(verdicts(effect).values()) == {FAILS}


def test_seeds_differ_in_everything_that_is_drawn() -> None:
    jobs = list(build_plan(FULL).jobs.values())
    levels, tuned = len(FULL.levels), len(FULL.variant_levels)
    # Chains and features; clocks; layer-wise; winning with dense, and fresh; random and clocks;
    # fine-tuning.
    each = 2 * 6 + 3 + 2 * len(DEPTHS) + 6 * (2 * levels + 1) + 4 * levels + 2 * (1 + tuned)
    assert len(jobs) == 3 * each
    for job in jobs:
        seed = int(job.path[0].removeprefix("seed_"))
        drawn = [job.options.get("randomness.seed", job.options.get("seed"))]
        drawn += [job.options["imp"]["seed"]] if "imp" in job.options else []
        drawn += [job.options["ticket.seed"]] if "ticket.seed" in job.options else []
        drawn += [v["seed"]] if "seed" in (v := job.options.get("ticket.variant", {})) else []
        assert set(drawn) == {seed}, job.name
        assert all(f"/seed_{seed}/" in name for name in job.needs)


def test_rewind_points_have_one_thing_each_in_common_with_all_labels() -> None:
    """Of 543 images in batches of 50 against 54 in batches of 25, both without a rest."""
    from lth_core.imp import Point

    updates = {  # of 100, in epochs of 2
        name: Point.parse(at).iteration(100, 2, 25) for name, at in CLOCKS.items()
    }
    assert updates == {"epochs": 2, "samples": 20, "updates": 10, "share": 10}
    assert Point.parse("1ep").iteration(100, 10, 50) == 10


def test_linear_classifiers_find_what_can_be_told_linearly() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(3, size=300)
    told = np.eye(3)[labels] + random.normal(0, 0.05, (300, 3))
    assert linear_accuracy(told[:200], labels[:200], told[200:], labels[200:]) == 1.0
    noise = random.normal(size=(300, 3))
    assert linear_accuracy(noise[:200], labels[:200], noise[200:], labels[200:]) < 0.6


@pytest.mark.long
def test_study_from_end_to_end(tmp_path: Path) -> None:
    root = tmp_path / "work"
    results, rows = run_to_its_end(SCRIPT, root, PLAN)
    for name, start in PLAN.starts.items():
        task = ON_LABELS if PLAN.jobs[name].stage == "labels" else FINE_TUNING
        mask = start.mask if start.level else DENSE
        (row,) = [
            r for r in rows
            if (r["task"], r["weights"], r["mask"], int(r["level"]))
            == (task, start.weights, mask, start.level)
        ]  # fmt: skip
        accuracy = results[name].metrics["accuracy/top1"]
        assert float(row["value"]) == pytest.approx(accuracy, abs=1e-5)
        if not mask.startswith("up_to"):
            assert float(row["sparsity"]) == pytest.approx(0.2 * start.level, abs=1e-4)
    for name in SELF_SUPERVISED:
        # The stem is pruned too.
        masks = torch.load(root / f"prune/seed_0/{name}/level_01/{CHECKPOINT}", weights_only=False)[
            "lth"
        ]["masks"]
        assert any("conv1" in key and "layer" not in key for key in masks)

    page = (root / "README.md").read_text()
    claims = json.loads((root / "verdicts.json").read_text())
    assert len(re.findall(r"\*\*(holds|does not hold|undecided)\*\* \|", page)) == len(claims)
    assert str(root) not in page
    assert (root / "curves.svg").read_text().count("<svg") == 1
