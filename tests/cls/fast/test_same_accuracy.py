"""Digits learn as well from memory as through the stock pipeline, over seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config

CONFIG = Path(__file__).parents[3] / "configs/cls/digits_resnet18.py"
SEEDS = (0, 1, 2)


def accuracies(work_dir: Path, **keys: Any) -> list[float]:
    """Of the digits held out, in percent, one for each seed."""
    found = []
    for seed in SEEDS:
        cfg = load_config(str(CONFIG))
        cfg.work_dir, cfg.log_level, cfg.randomness = str(work_dir / str(seed)), "ERROR", {}
        cfg.randomness.seed = seed
        for key, value in keys.items():
            cfg[key] = value
        runner = LTHRunner.from_cfg(cfg)
        runner.train()
        found.append(runner.metrics.last["accuracy/top1"])
    return found


@pytest.mark.long
def test_accuracy_is_the_same_within_noise(tmp_path: Path) -> None:
    stock = accuracies(tmp_path / "stock")
    ours = accuracies(tmp_path / "ours", in_memory={})
    print("stock", stock, "in memory", ours)
    spread = max(statistics.stdev(stock), statistics.stdev(ours), 0.3)
    assert min(*stock, *ours) > 95
    assert abs(statistics.mean(stock) - statistics.mean(ours)) < 3 * spread
