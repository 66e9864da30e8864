"""A tiny classifier, a ticket of it, and hooks that break a training off: for tests of studies."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
from lth_core import results
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.models import build_model
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

CONFIG = """
_base_ = ["lth_cls::cls/digits_resnet18.py"]
custom_imports = dict(imports=["lth_cls", "integration.study_config"], allow_failed_imports=False)
model = dict(backbone=dict(base_channels=4, stem_channels=4), head=dict(in_channels=32))
train_cfg = dict(max_epochs=2)
train_dataloader = dict(batch_size=16, dataset=dict(indices=32))
val_dataloader = dict(dataset=dict(indices=50))
test_dataloader = dict(dataset=dict(indices=50))
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [dict(type="NoteStart"), dict(type="DieOnce")]
"""


@HOOKS.register_module()
class NoteStart(Hook):
    """Keeps the weights that a training starts from, and its first batch."""

    priority = "LOWEST"

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 0:
            start = {"state": runner.model.state_dict(), "batch": data_batch["inputs"]}
            torch.save(start, Path(runner.work_dir) / "start.pt")


@HOOKS.register_module()
class DieOnce(Hook):
    """Ends the process as the kernel does when memory runs out, in the second epoch.

    Once, and only of trainings whose directory has ``STUDY_DIES`` in its name. With another signal
    than SIGKILL, the one named by ``STUDY_SIGNAL``.
    """

    def before_train_epoch(self, runner: Any) -> None:
        wanted = os.environ.get("STUDY_DIES")
        mark = Path(runner.work_dir) / "has_died"
        if wanted and runner.epoch == 1 and wanted in runner.work_dir and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.Signals[os.environ.get("STUDY_SIGNAL", "SIGKILL")])


def timeless(rows: list[results.Result]) -> list[Mapping[str, Any]]:
    """Rows as they must be however long their trainings took."""
    return [{k: v for k, v in vars(row).items() if k != "seconds"} for row in rows]


def make(directory: Path) -> None:
    """Writes ``tiny.py``, ``weights.pth``, ``tickets/3.safetensors`` and ``5.safetensors``."""
    (directory / "tiny.py").write_text(CONFIG)
    cfg = load_config(str(directory / "tiny.py"))
    torch.manual_seed(5)
    model: Any = build_model(cfg)
    model.init_weights()
    torch.save({"state_dict": model.state_dict()}, directory / "weights.pth")
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    (directory / "tickets").mkdir()
    for level, amount in ((3, 0.5), (5, 0.7)):
        ticket = lth.Ticket(
            lth.prune(model, masks, amount), model.state_dict(), {"level": level, "run": "toy"}
        )
        ticket.save(directory / "tickets" / f"{level}.safetensors")
