"""A small model, data and config for mmengine: whole trainings in a fraction of a second."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import lth_core.openmmlab  # noqa: F401  (installs the bridges)
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn
from torch.nn import functional as F

_COUNTER = itertools.count()


class ToyBackbone(nn.Sequential):
    """Three convolutions, of which the first is the stem."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.add_module("conv1", nn.Conv2d(3, width, 3, padding=1, bias=False))
        self.add_module("bn1", nn.BatchNorm2d(width))
        self.add_module("relu", nn.ReLU())
        self.add_module("conv2", nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        self.add_module("conv3", nn.Conv2d(width, 2 * width, 3, padding=1))


@MODELS.register_module(force=True)
class ToyClassifier(BaseModel):
    """Backbone and a linear head; four classes told apart by colour."""

    def __init__(self, width: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = ToyBackbone(width)
        self.head = nn.Linear(2 * width, 4)

    def forward(self, inputs: Any, labels: Any, mode: str = "tensor", **_: Any) -> Any:
        inputs, labels = torch.stack(list(inputs)), torch.as_tensor(labels)
        scores = self.head(self.backbone(inputs).mean((2, 3)))
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return [{"correct": bool(c)} for c in scores.argmax(1) == labels]


@DATASETS.register_module(force=True)
class ToyDataset(BaseDataset):
    """Noise with a colour that tells the class."""

    def load_data_list(self) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        return [
            {
                "inputs": torch.rand(3, 8, 8, generator=generator)
                + torch.tensor([(k >> 1) & 1, k & 1, 0.0])[:, None, None],
                "labels": k,
            }
            for k in torch.randint(4, (32,), generator=generator).tolist()
        ]


@METRICS.register_module(force=True)
class ToyAccuracy(BaseMetric):
    """Share of correct predictions."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [sample["correct"] for sample in data_samples]

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        return {"accuracy": sum(results) / len(results)}


def toy_config(work_dir: str | Path, epochs: int = 2, **changes: Any) -> Config:
    """A complete training config; ``changes`` replace top-level keys."""
    loader = {
        "batch_size": 8,
        "num_workers": 0,
        "dataset": {"type": "ToyDataset", "lazy_init": False},
    }
    cfg = {
        "work_dir": str(work_dir),
        # mmengine tells runners by their names, and those of one second by nothing else.
        "experiment_name": f"toy {next(_COUNTER)}",
        "model": {"type": "ToyClassifier"},
        "train_dataloader": loader | {"sampler": {"type": "DefaultSampler", "shuffle": True}},
        "val_dataloader": loader | {"sampler": {"type": "DefaultSampler", "shuffle": False}},
        "train_cfg": {"by_epoch": True, "max_epochs": epochs},
        "val_cfg": {},
        "val_evaluator": {"type": "ToyAccuracy"},
        "optim_wrapper": {
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
        },
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "randomness": {"seed": 0},
        "log_level": "WARNING",
    }
    return Config(cfg | changes)
