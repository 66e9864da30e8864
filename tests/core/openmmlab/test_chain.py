from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.errors import ConfigError, RunError, ScopeError
from lth_core.openmmlab import LevelHook, LTHRunner
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from mmengine.runner import Runner

from .toy import toy_config

IMP = {"rounds": 2, "amount": 0.5, "rewind": "init"}


@MODELS.register_module()
class Refusing(BaseDataPreprocessor):
    def forward(self, *args: Any) -> Any:
        raise ArithmeticError


def run(directory: Path, **changes: Any) -> Any:
    return LTHRunner.from_cfg(toy_config(directory, imp=IMP, **changes)).train()


def digests(directory: Path) -> list[tuple[str, str, dict[str, float]]]:
    levels = sorted(directory.glob("level_*/metrics.json"))
    receipts = [json.loads(level.read_text()) for level in levels]
    return [(r["digest"], r["trained"], r["metrics"]) for r in receipts]


def test_levels_have_exact_counts_nested_masks_and_the_rewind_weights(tmp_path: Path) -> None:
    results = run(tmp_path)
    tickets = [
        lth.Ticket.load(tmp_path / f"level_{k:02d}" / "ticket.safetensors") for k in range(3)
    ]
    total = tickets[0].masks.total
    assert [t.masks.kept for t in tickets] == [total, total // 2, total // 4]
    assert tickets[2].masks.issubset(tickets[1].masks)
    assert [r.digest for r in results] == [t.masks.digest() for t in tickets]
    dense = tickets[0].weights
    assert dense is not None
    for ticket in tickets[1:]:
        assert ticket.weights is not None
        for name, mask in ticket.masks.items():
            assert torch.equal(ticket.weights[name], dense[name] * mask)
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == [r.metrics["accuracy"] for r in results]


def test_each_level_starts_from_the_snapshot_under_its_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[dict[str, torch.Tensor]] = []
    before_train = LevelHook.before_train

    def spy(self: LevelHook, runner: Runner) -> None:
        before_train(self, runner)
        starts.append({n: t.clone() for n, t in runner.model.state_dict().items()})

    monkeypatch.setattr(LevelHook, "before_train", spy)
    run(tmp_path)
    for level, start in enumerate(starts):
        masks = lth.Ticket.load(tmp_path / f"level_{level:02d}" / "ticket.safetensors").masks
        masks = masks.with_prefix("backbone.")
        for name, tensor in start.items():
            wanted = starts[0][name]
            assert torch.equal(tensor, wanted * masks[name] if name in masks else wanted), name


def test_an_interrupted_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole")
    steps = 0
    after_train_iter = LevelHook.after_train_iter

    def interrupt(self: LevelHook, runner: Runner, *args: Any, **kwargs: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in (7, 13, 20):  # a batch after a checkpoint, in different levels
            raise KeyboardInterrupt
        after_train_iter(self, runner, *args, **kwargs)

    monkeypatch.setattr(LevelHook, "after_train_iter", interrupt)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts")
    run(tmp_path / "parts")
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("level_*/**/*")}
    assert run(tmp_path) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("level_*/**/*")} == stamps


def test_going_on_with_another_config_is_refused_with_the_difference(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(RunError, match=r"train_cfg\.max_epochs was 2, now 3"):
        run(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 3})


def test_a_run_that_failed_before_it_left_anything_can_be_corrected(tmp_path: Path) -> None:
    misspelt = {"optimizer": {"type": "SDG", "lr": 0.1}}
    with pytest.raises(ConfigError, match="did you mean 'SGD'"):
        run(tmp_path / "mended", optim_wrapper=misspelt)
    # Once more, in the first iteration: the weights to rewind to are there already.
    other = {"type": "ToyClassifier", "width": 4, "data_preprocessor": {"type": "Refusing"}}
    with pytest.raises(ArithmeticError):
        run(tmp_path / "mended", model=other)
    assert (tmp_path / "mended" / "rewind.safetensors").exists()
    run(tmp_path / "mended")
    run(tmp_path / "fresh")
    assert digests(tmp_path / "mended") == digests(tmp_path / "fresh")


def test_early_rewinding_takes_the_weights_of_that_step(tmp_path: Path) -> None:
    imp = IMP | {"rewind": "early", "rewind_at": "1ep"}
    LTHRunner.from_cfg(toy_config(tmp_path / "imp", imp=imp)).train()
    short = LTHRunner.from_cfg(toy_config(tmp_path / "short", epochs=1))
    short.train()
    rewind = lth.Ticket.load(tmp_path / "imp" / "level_00" / "ticket.safetensors").weights
    assert rewind is not None
    for name, tensor in short.model.backbone.state_dict().items():
        assert torch.equal(rewind[name], tensor), name


def test_first_prune_before_training_ranks_the_given_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    runner = LTHRunner.from_cfg(toy_config(tmp_path / "start", epochs=1))
    start = {n: t.clone() for n, t in runner.model.state_dict().items()}
    torch.save(start, tmp_path / "start.pth")
    imp = {"rounds": 1, "amount": 0.5, "rewind": "pretrained", "first_prune": "before"}
    cfg = toy_config(tmp_path / "imp", imp=imp, load_from=str(tmp_path / "start.pth"))
    LTHRunner.from_cfg(cfg).train()
    ticket = lth.Ticket.load(tmp_path / "imp" / "level_01" / "ticket.safetensors")
    names = ["backbone.conv2.weight", "backbone.conv3.weight"]
    flat = torch.cat([start[name].abs().reshape(-1) for name in names])
    threshold = flat.sort().values[flat.numel() // 2]
    for name in names:
        assert torch.equal(
            ticket.masks[name.removeprefix("backbone.")], start[name].abs() >= threshold
        )


@pytest.mark.parametrize(
    ("imp", "changes", "said"),
    [
        ({"rounds": 1}, {}, "loads no weights"),
        ({"rounds": 1, "rewind": "init"}, {"load_from": "x.pth"}, "loads pre-trained weights"),
        ({"rounds": 1, "rewind": "init"}, {"ticket": {"path": "x"}}, "both ticket and imp"),
    ],
)
def test_contradictions_are_refused(
    imp: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        LTHRunner.from_cfg(toy_config(tmp_path, imp=imp, **changes))


def test_another_part_of_the_model_can_be_pruned(tmp_path: Path) -> None:
    imp = {"rounds": 1, "rewind": "init", "kinds": ["linear"]}
    with pytest.raises(ScopeError, match="no linear weight in its backbone"):
        LTHRunner.from_cfg(toy_config(tmp_path / "default", imp=imp)).train()
    cfg = toy_config(tmp_path / "head", epochs=1, imp=imp | {"backbone": "head"})
    LTHRunner.from_cfg(cfg).train()
    ticket = lth.Ticket.load(tmp_path / "head" / "level_01" / "ticket.safetensors")
    assert list(ticket.masks) == ["weight"]
    assert ticket.masks.sparsity == pytest.approx(0.2, abs=1 / ticket.masks.total)


def test_curves_of_every_level_lie_in_its_own_folder(tmp_path: Path) -> None:
    """Upstream configs name their visualizer, and mmengine takes the first of a name again."""
    visualizer = {
        "type": "Visualizer",
        "name": "visualizer",
        "vis_backends": [{"type": "LocalVisBackend"}],
    }
    LTHRunner.from_cfg(
        toy_config(tmp_path, imp={"rounds": 1, "rewind": "init"}, visualizer=visualizer)
    ).train()
    for level in ("level_00", "level_01"):
        assert len(list((tmp_path / level).glob("*/vis_data/scalars.json"))) == 1
