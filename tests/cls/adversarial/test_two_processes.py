"""Adversarial training on two processes: one synchronisation of gradients a step, equal ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("worker.py")
STEPS = 3


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both ranks have written."""
    folder = tmp_path_factory.mktemp("ranks")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=900,  # a rank that waits for ever would end here
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", ["adversarial", "trades"])
def test_both_ranks_hold_the_same_bits(name: str, ranks: list[dict[str, Any]]) -> None:
    assert ranks[0][name]["digest"] == ranks[1][name]["digest"]


def test_they_are_reproducible(ranks: list[dict[str, Any]]) -> None:
    first, again, other = (
        ranks[0][name]["digest"] for name in ("adversarial", "adversarial again", "trades")
    )
    assert first == again != other


@pytest.mark.parametrize("name", ["adversarial", "trades"])
def test_the_attack_synchronises_nothing(name: str, ranks: list[dict[str, Any]]) -> None:
    assert [rank[name]["synchronised"] for rank in ranks] == [STEPS, STEPS]


def test_the_alarm_counts_over_both(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["adversarial"]["alarm"] == ranks[1]["adversarial"]["alarm"]
    for _, percent in ranks[0]["adversarial"]["alarm"]:  # of 8 images and of 9
        assert percent * 17 / 100 == pytest.approx(round(percent * 17 / 100))
