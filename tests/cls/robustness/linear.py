"""Linear classifiers of small grey pictures, whose accuracy under attack is known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_cls  # noqa: F401  # registers what configs name
import numpy as np
import torch
from lth_core.openmmlab import LTHRunner
from lth_core.scope import unwrap
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModule
from mmpretrain.registry import DATASETS, MODELS

SIDE = 4
PIXELS = 3 * SIDE * SIDE
EPS = 8 / 255
MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]


@DATASETS.register_module()
class GreyNoise(BaseDataset):
    """Random pictures, far enough from black and white for attacks not to get there."""

    def __init__(self, number: int = 40, classes: int = 2, **kwargs: Any) -> None:
        self.number = number
        super().__init__(metainfo={"classes": [str(k) for k in range(classes)]}, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        random = np.random.default_rng(0)
        shape = (self.number, SIDE, SIDE, 3)
        pictures = random.integers(40, 216, shape, dtype=np.uint8)
        labels = random.integers(len(self.metainfo["classes"]), size=self.number)
        return [
            {"img": picture, "gt_label": int(label)}
            for picture, label in zip(pictures, labels, strict=True)
        ]


@MODELS.register_module()
class Flat(BaseModule):
    """A backbone whose features are the pixels."""

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return (inputs.flatten(1),)


@MODELS.register_module()
class TwoConvolutions(BaseModule):
    """A backbone with something to prune beside its stem."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.conv = torch.nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(self.stem(inputs).relu()).flatten(1),)


def trained(cfg: Config, epochs: int, rate: float) -> Config:
    """A training, validated after each epoch, that keeps SA-best and RA-best weights."""
    cfg.train_dataloader = {
        **cfg.val_dataloader,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
    }
    cfg.train_cfg = {"by_epoch": True, "max_epochs": epochs}
    cfg.optim_wrapper = {"optimizer": {"type": "SGD", "lr": rate}}
    bests = ["accuracy/top1", "accuracy/top1/pgd-20"]
    cfg.default_hooks = {
        "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": bests},
    }
    cfg.custom_hooks = [{"type": "RobustBestHook"}]
    return cfg


def config(
    work_dir: Path,
    attacks: dict[str, Any],
    classes: int = 2,
    number: int = 40,
    batch_size: int = 16,
    **loop: Any,
) -> Config:
    loader = {
        "batch_size": batch_size,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "default_collate"},
        "dataset": {
            "type": "GreyNoise",
            "number": number,
            "classes": classes,
            "pipeline": [{"type": "PackInputs"}],
            "test_mode": True,
        },
    }
    head = {"type": "LinearClsHead", "num_classes": classes, "in_channels": PIXELS}
    return Config(
        {
            "default_scope": "mmpretrain",
            "work_dir": str(work_dir),
            "log_level": "INFO",
            "randomness": {"seed": 1},
            "data_preprocessor": {"mean": MEAN, "std": STD, "num_classes": classes},
            "model": {"type": "ImageClassifier", "backbone": {"type": "Flat"}, "head": head},
            "val_dataloader": loader,
            "val_evaluator": {"type": "Accuracy", "topk": (1,)},
            "val_cfg": {"type": "RobustValLoop", "attacks": attacks, **loop},
            "test_dataloader": loader,
            "test_evaluator": {"type": "Accuracy", "topk": (1,)},
            "test_cfg": {"type": "RobustTestLoop", "attacks": attacks, **loop},
        }
    )


def scores_of(weight: torch.Tensor, bias: torch.Tensor, number: int, classes: int) -> Any:
    """Pixels ``(N, PIXELS)`` in [0, 1], labels, and weight and bias upon such pixels, float64."""
    data = GreyNoise(number=number, classes=classes).load_data_list()
    pixels = torch.tensor(np.stack([each["img"] for each in data]) / 255.0)
    pixels = pixels.permute(0, 3, 1, 2).flatten(1)
    labels = torch.tensor([each["gt_label"] for each in data])
    each = PIXELS // 3
    std = torch.tensor(STD).double().repeat_interleave(each) / 255
    mean = torch.tensor(MEAN).double().repeat_interleave(each) / 255
    on_pixels = weight.double() / std
    return pixels, labels, on_pixels, bias.double() - on_pixels @ mean


def exact_accuracy(
    weight: torch.Tensor,
    bias: torch.Tensor,
    number: int,
    classes: int,
    eps: float,
    first: int | None = None,
) -> float:
    """In percent: of a linear model a picture stays right with each margin above eps * ||w||_1."""
    pixels, labels, w, b = scores_of(weight, bias, number, classes)
    scores = pixels @ w.T + b
    margins = scores.gather(1, labels[:, None]) - scores
    norms = (w[labels][:, None] - w[None]).abs().sum(2)
    wrong = torch.arange(classes)[None] != labels[:, None]
    assert (margins - eps * norms)[wrong].abs().min() > 1e-4  # no picture on the edge
    stays = ((margins > eps * norms) | ~wrong).all(1)
    return float(100 * stays[:first].double().mean())


def fitted(number: int, classes: int, ridge: float = 20.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias, of normalised inputs, that get most pictures right, some but just."""
    unit = torch.zeros(classes, PIXELS), torch.zeros(classes)
    pixels, labels, _, _ = scores_of(*unit, number, classes)
    each = PIXELS // 3
    std = torch.tensor(STD).double().repeat_interleave(each) / 255
    mean = torch.tensor(MEAN).double().repeat_interleave(each) / 255
    inputs = (pixels - mean) / std
    wanted = torch.nn.functional.one_hot(labels, classes).double() - 1 / classes
    square = inputs.T @ inputs + ridge * torch.eye(PIXELS)
    weight = torch.linalg.solve(square, inputs.T @ wanted).T
    return weight.float(), torch.zeros(classes)


def runner_with(cfg: Config, weight: torch.Tensor, bias: torch.Tensor) -> LTHRunner:
    runner = LTHRunner.from_cfg(cfg)
    model = unwrap(runner.model)
    with torch.no_grad():
        model.head.fc.weight.copy_(weight)
        model.head.fc.bias.copy_(bias)
    return runner
