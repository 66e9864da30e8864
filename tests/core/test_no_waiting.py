"""Masks never make the host wait for the device: nothing in a step reads a tensor's value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.openmmlab import LevelHook, LTHRunner
from lth_core.openmmlab.late import LateInfoHook
from mmengine.config import Config
from mmengine.hooks import RuntimeInfoHook
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from .helpers import random_masks
from .openmmlab.toy import ToyBackbone, toy_config
from .waiting import NoWaiting, WaitError, watch_iterations


def _step(device: str = "cpu") -> tuple[nn.Module, Callable[[], None]]:
    torch.manual_seed(0)
    model = ToyBackbone().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    lth.attach(model, random_masks(model, 0.5).to(device), optimizer)
    images = torch.rand(2, 3, 8, 8, device=device)

    def step() -> None:
        optimizer.zero_grad()
        model(images).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return model, step


def test_a_step_with_masks_reads_no_value() -> None:
    _, step = _step()
    with NoWaiting():
        for _ in range(2):
            step()


@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: int(x.sum()),
    ],
)
def test_a_hook_that_reads_a_value_is_noticed(reads: Callable[[Tensor], Any]) -> None:
    model, step = _step()
    model.bn1.bias.register_post_accumulate_grad_hook(lambda p: (reads(p.grad), None)[1])
    with NoWaiting(), pytest.raises(WaitError):
        step()


def test_a_level_of_a_chain_reads_no_value_in_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(function.__name__)
            with NoWaiting():
                return function(*args, **kwargs)

        return call

    monkeypatch.setattr(OptimWrapper, "update_params", watched(OptimWrapper.update_params))
    monkeypatch.setattr(LevelHook, "after_train_iter", watched(LevelHook.after_train_iter))
    imp = {"rounds": 1, "rewind": "early", "rewind_at": "1ep"}
    LTHRunner.from_cfg(toy_config(tmp_path, epochs=2, imp=imp)).train()
    assert seen.count("update_params") == seen.count("after_train_iter") == 16


LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 3},
    "iterations": {"by_epoch": False, "max_iters": 12, "val_interval": 4},
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_whole_iteration_reads_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    seen = watch_iterations(monkeypatch)
    cfg = _logged_seldom(tmp_path, loop)
    cfg.imp = {"rounds": 1, "rewind": "init"}
    LTHRunner.from_cfg(cfg).train()
    assert seen == 2 * [0, 1, 2, 4, 5, 6, 8, 9, 10]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("what", ["losses", "norms"])
def test_mmengines_own_reading_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str, what: str
) -> None:
    watch_iterations(monkeypatch)
    if what == "losses":
        monkeypatch.setattr(LateInfoHook, "after_train_iter", RuntimeInfoHook.after_train_iter)
    else:
        monkeypatch.setattr(LateInfoHook, "before_train", RuntimeInfoHook.before_train)
    with pytest.raises(WaitError):
        LTHRunner.from_cfg(_logged_seldom(tmp_path, loop)).train()


def _logged_seldom(work_dir: Path, loop: str) -> Config:
    cfg = toy_config(work_dir, train_cfg=LOOPS[loop])
    cfg.optim_wrapper.clip_grad = {"max_norm": 1.0}
    by_epoch = loop == "epochs"
    cfg.default_hooks = {
        "logger": {"type": "LoggerHook", "interval": 4 if not by_epoch else 100},
        "checkpoint": {"type": "CheckpointHook", "interval": -1},
    }
    cfg.log_processor = {"by_epoch": by_epoch}
    return cfg


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for() -> None:
    _, step = _step("cuda")
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
