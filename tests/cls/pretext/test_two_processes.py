"""Pretext tasks on two processes: gradients of one with all of the batch, and one memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest

from . import worker
from .test_learning import digits

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both ranks have written."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(Path(worker.__file__)), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,  # a rank that waits for ever would end here
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    """The same in this process alone."""
    return worker.everything(0, 1)


def assert_same_gradients(found: dict[str, list[float]], want: dict[str, list[float]]) -> None:
    assert found.keys() == want.keys()
    for name in want:
        assert found[name] == pytest.approx(want[name], rel=1e-3, abs=1e-6), name
    assert any(any(values) for values in want.values())


@pytest.mark.parametrize("task", ["rotnet", "exemplar"])
def test_gradients_are_those_of_one_process(
    task: str, ranks: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    for rank in ranks:
        assert_same_gradients(rank[task], one[task])


@pytest.mark.parametrize("labels", worker.LABELS)
def test_s4l_counts_every_label_alike(
    labels: str, ranks: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    want, whole = one[f"s4l, {labels}"]
    parts = [rank[f"s4l, {labels}"] for rank in ranks]
    for found, _ in parts:
        assert_same_gradients(found, want)
    for name in ("label_loss", "rotation_loss"):
        mean = sum(losses[name] for _, losses in parts) / 2
        assert mean == pytest.approx(whole[name], rel=1e-4, abs=1e-6)
    if labels == "one side":  # the second rank has none, which used to be waited for
        assert parts[1][1]["label_loss"] == 0 < parts[0][1]["label_loss"]


def test_npids_softmax_over_all_trains_as_one_process(
    ranks: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    gradients, memory = one["npid"]
    for rank in ranks:
        assert_same_gradients(rank["npid"][0], gradients)
        assert rank["npid"][1] == pytest.approx(memory, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("task", ["npid", "npid, sampled"])
def test_npids_memory_is_the_same_bits_on_both(task: str, ranks: list[dict[str, Any]]) -> None:
    first, second = (rank[task][1] for rank in ranks)
    assert first == second


def test_ranks_that_draw_other_negatives_end_with_one_gradient(
    ranks: list[dict[str, Any]],
) -> None:
    first, second = (rank["npid, sampled"][0] for rank in ranks)
    assert first == second


@pytest.mark.long
@pytest.mark.parametrize("task", ["npid", "s4l"])
def test_two_processes_go_through_a_chain(task: str, tmp_path: Path) -> None:
    cfg = digits(task, tmp_path / "run", 2)
    # Of four digits none has a label in two batches out of three.
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset.get("dataset", cfg.train_dataloader.dataset).indices = 60
    if task == "npid":
        cfg.model.samples = 60
        cfg.model.negatives = 20
    cfg.imp = {"preset": "paper-b", "rounds": 1, "rewind_at": "1ep"}
    cfg.custom_hooks = [{"type": "SyncBuffersHook"}]
    cfg.dump(tmp_path / "small.py")
    done = subprocess.run(
        ["bash", str(ROOT / "tools/dist_train.sh"), str(tmp_path / "small.py"), "2"],
        env=os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    masks = lth.Ticket.load(tmp_path / "run/level_01/ticket.safetensors").masks
    assert masks.kept == masks.total - round(0.2 * masks.total)
    assert len((tmp_path / "run/results.csv").read_text().splitlines()) == 3
