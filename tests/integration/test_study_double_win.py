"""The study of double-win tickets: its claims on numbers made up, and a tiny one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lth_core.openmmlab.jobs import CHECKPOINT
from lth_core.openmmlab.launch import load_config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from integration.double_win_tiny import TINY
from integration.study_end import run_to_its_end

from double_win_audit import ATTACKS  # isort: skip
from double_win_claims import ROBUST, judge  # isort: skip
from double_win_plan import (  # isort: skip
    ADVERSARIAL, AUDIT, CONFIGS, OTHER, PORTIONS, PRETRAININGS, RANDOM, STANDARD, Settings,
    build_plan, task_of,
)  # fmt: skip
from study_claims import FAILS, HOLDS, UNDECIDED, Row  # isort: skip
from study_plan import DENSE, TRANSFERRED  # isort: skip

SCRIPT = Path(__file__).with_name("double_win_tiny.py")
PLAN = build_plan(TINY)
FULL = Settings()
TASKS = {task_of(*each): each for each in ((t, p) for t in CONFIGS for p in PORTIONS)}
Effect = Callable[[str, str, str, str, str, int, int], float]
"""What is added to a number: by training, portion, metric, weights, mask, level and seed."""


def world(effect: Effect) -> list[Row]:
    """A study's rows: 50, half a point more for each seed, and the effect."""
    cells = []
    for name in PRETRAININGS:
        cells += [(AUDIT, "", name, DENSE, 0, each) for each in ATTACKS]
        for training, portion in TASKS.values():
            starts = [(DENSE, 0), *((TRANSFERRED, k) for k in FULL.levels)]
            starts += [(RANDOM, k) for k in FULL.variant_levels]
            for mask, level in starts:
                for metric in ("SA", "RA"):
                    cells.append((training, portion, name, mask, level, metric))
    return [
        Row(
            seed, AUDIT if training == AUDIT else task_of(training, portion), name, mask, level,
            1 - 0.8**level, metric,
            50 + seed / 2 + effect(training, portion, metric, name, mask, level, seed), 1.0,
        )
        for training, portion, name, mask, level, metric in cells
        for seed in FULL.seeds
    ]  # fmt: skip


def verdicts(effect: Effect) -> dict[tuple[str, str], str]:
    found = judge(world(effect), FULL)
    verdicts = {(each.group, each.claim): each.verdict for each in found}
    # 9 that they exist, 5 sparser, 6 superior, 2 + 4 amplified, 6 with little data, 9 random, 9.
    assert len(verdicts) == len(found) == 50
    return verdicts


def test_where_all_are_alike_no_one_is_better() -> None:
    for (group, claim), verdict in verdicts(lambda *_: 0.0).items():
        alike = "exist" in group or "as sparse as" in claim or "robustness is real" in group
        assert verdict == (HOLDS if alike else UNDECIDED), claim


REACH = {"standard": 6, "fast": 9, "pgd": 13}


def as_in_the_paper(
    training: str, portion: str, metric: str, weights: str, mask: str, level: int, seed: int
) -> float:
    if training == AUDIT:
        return {"PGD-100": -1.0, "Square": 5.0, "transferred": 20.0}.get(metric, 0.0)
    little = portion != "all"
    found = 4.0 * (weights in ROBUST)
    if mask == DENSE:
        return found
    # More in tickets, and the more, the fewer the data, from standard pre-training on.
    found += (8.0 if little else 2.0) * (weights in ROBUST) + 1.0 * little
    if mask == RANDOM:
        return found - 30.0
    return found - 3.0 * (level > REACH[weights]) * (6.0 if weights in ROBUST else 4.0)


def test_a_world_as_the_paper_found_it() -> None:
    found = verdicts(as_in_the_paper)
    assert {claim: v for claim, v in found.items() if v != HOLDS} == {}


def test_a_world_that_contradicts_the_paper() -> None:
    def effect(
        training: str, portion: str, metric: str, weights: str, mask: str, level: int, seed: int
    ) -> float:
        if training == AUDIT:
            return -9.0 * (metric != "PGD-20")
        little = portion != "all"
        found = -4.0 * (weights in ROBUST)
        if mask == DENSE:
            return found
        if mask == RANDOM:
            return 30.0
        if (weights, level) == ("standard", FULL.levels[0]):
            return 0.0  # a double win, but of 36 % only
        return found - 9.0 * little - 6.0 - (8.0 if little else 2.0) * (weights in ROBUST)

    found = verdicts(effect)
    (undecided,) = (claim for (_, claim), verdict in found.items() if verdict != FAILS)
    # Neither has any.
    assert undecided.startswith("adversarial (PGD) has double wins sparser than fast adversarial")


@pytest.mark.parametrize(
    ("training", "metric"), [(STANDARD, "SA"), (ADVERSARIAL, "SA"), (ADVERSARIAL, "RA")]
)
def test_a_double_win_needs_all_three(training: str, metric: str) -> None:
    """Where one of them is far below dense, there is none; RA after standard training is no one."""

    def lost(where: str, what: str) -> dict[tuple[str, str], str]:
        return verdicts(
            lambda *cell: (
                -20.0 if (cell[0], cell[2]) == (where, what) and cell[4] == TRANSFERRED else 0.0
            )
        )

    group = "double-win tickets exist"
    found = {v for (of, _), v in lost(training, metric).items() if of == group}
    assert found == {FAILS}
    found = {v for (of, _), v in lost(STANDARD, "RA").items() if of == group}
    assert found == {HOLDS}


def test_seeds_differ_in_everything_that_is_drawn() -> None:
    jobs = list(build_plan(FULL).jobs.values())
    starts = 1 + len(FULL.levels) + len(FULL.variant_levels)
    assert len(jobs) == 3 * 3 * (1 + 1 + 2 * 3 * starts + 1)
    for job in jobs:
        seed = int(job.path[0].removeprefix("seed_"))
        drawn = [job.options["randomness.seed"]]
        drawn += [job.options["imp"]["seed"]] if "imp" in job.options else []
        drawn += [v["seed"]] if (v := job.options.get("ticket.variant")) else []
        portion = "train_dataloader.dataset.seed"
        drawn += [job.options[portion]] if job.stage in CONFIGS else []
        assert set(drawn) == {seed}, job.name
        assert all(f"/seed_{seed}/" in name for name in job.needs)


def test_portions_make_the_same_number_of_updates() -> None:
    cfg = load_config(CONFIGS[STANDARD])
    init_default_scope("mmpretrain")
    sizes = {}
    for name, portion in PORTIONS.items():
        loader = cfg.train_dataloader
        assert loader.drop_last
        labels = DATASETS.build({**loader.dataset, "images": portion.share}).get_gt_labels()
        sizes[name] = np.bincount(labels).tolist()
        assert len(labels) // portion.batch * portion.epochs == 130
    assert sizes["hundredth"] == [1] * 5
    assert all(abs(a / b - 0.1) < 0.01 for a, b in zip(sizes["tenth"], sizes["all"], strict=True))


def test_the_audit_transfers_from_another_network() -> None:
    for job in build_plan(FULL).jobs.values():
        if job.stage == AUDIT:
            networks = [name for name, _ in job.files.values()]
            assert len(set(networks)) == 2
            assert all(name.startswith(f"{ADVERSARIAL}/{job.path[0]}/") for name in networks)
    assert set(OTHER) == set(OTHER.values()) == set(PRETRAININGS)


@pytest.mark.long
def test_study_from_end_to_end(tmp_path: Path) -> None:
    root = tmp_path / "work"
    results, rows = run_to_its_end(SCRIPT, root, PLAN)
    keys = {"SA": "accuracy/top1", "RA": "accuracy/top1/pgd-20"}
    for name, start in PLAN.starts.items():
        job = PLAN.jobs[name]
        if job.stage == AUDIT:
            continue
        for metric, key in keys.items():
            (row,) = [
                r for r in rows
                if (r["task"], r["weights"], r["mask"], int(r["level"]), int(r["seed"]))
                == (task_of(job.stage, job.path[2]), start.weights, start.mask, start.level,
                    PLAN.seeds[name])
                and r["metric"] == metric
            ]  # fmt: skip
            assert float(row["value"]) == pytest.approx(results[name].metrics[key], abs=1e-5)
            assert float(row["sparsity"]) == pytest.approx(0.2 * start.level, abs=1e-4)
    for name in PRETRAININGS:
        audit = results[f"{AUDIT}/seed_0/{name}"].metrics
        dense = results[f"{ADVERSARIAL}/seed_0/{name}/all/{DENSE}_00"].metrics
        assert audit["accuracy/top1/pgd-100"] <= dense["accuracy/top1"]
        saved = torch.load(root / f"imp/seed_0/{name}/level_01/{CHECKPOINT}", weights_only=False)
        # The stem is pruned too.
        assert any("conv1" in key and "layer" not in key for key in saved["lth"]["masks"])

    page = (root / "README.md").read_text()
    claims = json.loads((root / "verdicts.json").read_text())
    assert len(re.findall(r"\*\*(holds|does not hold|undecided)\*\* \|", page)) == len(claims)
    assert str(root) not in page
    assert (root / "curves.svg").read_text().count("<svg") == 1
