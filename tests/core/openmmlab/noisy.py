"""A toy training in which everything draws random numbers: data, model, order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torch import nn

from .toy import ToyClassifier, ToyDataset, toy_config

LOOPS: dict[str, dict[str, Any]] = {
    "epochs": {
        "train_cfg": {"by_epoch": True, "max_epochs": 4},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
    },
    "epochs, saved inside": {
        "train_cfg": {"by_epoch": True, "max_epochs": 4},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False}
        },
    },
    "iterations": {
        "train_cfg": {"by_epoch": False, "max_iters": 16, "val_interval": 5},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False}
        },
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
    },
    "iterations, finite data": {
        "train_cfg": {"by_epoch": False, "max_iters": 7},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}
        },
    },
}
"""Of 4 batches an epoch."""


@DATASETS.register_module(force=True)
class NoisyDataset(ToyDataset):
    """Adds noise from each of the three random streams to every image."""

    def __getitem__(self, idx: int) -> Any:
        item = dict(super().__getitem__(idx))
        noise = random.gauss(0, 0.1) + np.random.normal(0, 0.1)
        item["inputs"] = item["inputs"] + noise + 0.1 * torch.randn(3, 8, 8)
        return item


@MODELS.register_module(force=True)
class DroppingClassifier(ToyClassifier):
    """Drops features, and draws random numbers in evaluation too."""

    def forward(self, inputs: Any, labels: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        inputs = nn.functional.dropout(torch.stack(list(inputs)), 0.1)
        return super().forward(inputs, labels, mode, **kwargs)


def noisy_config(
    work_dir: str | Path, loop: str = "epochs", workers: int = 0, **changes: Any
) -> Config:
    """A complete config; ``changes`` replace top-level keys."""
    cfg = toy_config(work_dir)
    cfg.model.type = "DroppingClassifier"
    parts = dict(LOOPS[loop])
    sampler = parts.pop("sampler", None)
    for name in ("train_dataloader", "val_dataloader"):
        cfg[name].dataset.type = "NoisyDataset"
        cfg[name].num_workers = workers
        cfg[name].persistent_workers = workers > 0
    if sampler is not None:
        cfg.train_dataloader.sampler = sampler
    cfg.param_scheduler = {"type": "ExponentialLR", "gamma": 0.95, "by_epoch": False}
    for key, value in (parts | changes).items():
        cfg[key] = value
    return cfg
