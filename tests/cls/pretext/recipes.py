"""Paper B's recipes, written out by hand, and what a config really does, to compare with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """A row of the table of supplement 6.4.

    Attributes:
        epochs: How many.
        gpus: Over how many processes the paper deals a batch out.
        each: Images of each.
        lr: Rate after the warm-up.
        warm: Epochs of warm-up.
        decay: Weight decay.
        steps: Epochs from which on the rate is a tenth; None for a cosine.
        optimizer: Its type, and momentum if it has any.
    """

    epochs: int
    gpus: int
    each: int
    lr: float
    warm: int
    decay: float
    steps: tuple[int, ...] | None
    optimizer: tuple[Any, ...] = ("SGD", 0.9)

    @property
    def batch(self) -> int:
        """Over all processes."""
        return self.gpus * self.each


CIFAR = Recipe(160, 1, 512, 1e-3, 0, 1e-4, (80, 120), ("Adam", None))
CIFAR_EXEMPLAR = Recipe(180, 1, 512, 3e-4, 0, 1e-4, (120,), ("Adam", None))
S4L = Recipe(200, 32, 64, 0.1, 5, 3e-4, (140, 160, 180))

# fmt: off
RECIPES = {
    "imagenet/alexnet_labels": Recipe(90, 8, 512, 0.4, 0, 1e-4, (30, 60)),
    "imagenet/resnet50_labels": Recipe(90, 16, 96, 0.1, 0, 1e-4, (50, 65, 80)),
    "imagenet/resnet50_few_images": Recipe(200, 8, 96, 0.1, 5, 1e-3, (140, 160, 180)),
    "imagenet/resnet50_few_classes": Recipe(200, 8, 96, 0.3, 5, 3e-4, (140, 160, 180)),
    "imagenet/resnet50_s4l_images": S4L,
    "imagenet/resnet50_s4l_classes": S4L,
    "imagenet/resnet50_rotnet": Recipe(90, 16, 96, 1.0, 5, 1e-5, (50, 65, 80)),
    "imagenet/resnet50_exemplar": Recipe(40, 32, 48, 0.3, 0, 1e-5, (20, 30)),
    "imagenet/resnet50_npid": Recipe(150, 8, 128, 0.03, 0, 1e-4, None),
    "imagenet/alexnet_rotnet": Recipe(90, 16, 512, 0.5, 2, 1e-5, (30, 60)),
    "imagenet/alexnet_exemplar": Recipe(30, 16, 256, 0.1, 0, 1e-4, (20,)),
    "cifar10/resnet18_labels": CIFAR,
    "cifar10/resnet18_rotnet": CIFAR,
    "cifar10/resnet18_exemplar": CIFAR_EXEMPLAR,
    "cifar10/vgg19_labels": CIFAR,
    "cifar10/vgg19_rotnet": CIFAR,
    "cifar10/vgg19_exemplar": CIFAR_EXEMPLAR,
}
# fmt: on

PER_EPOCH = 10
"""Iterations of an epoch in which rates are compared."""


def wanted_rates(recipe: Recipe) -> list[float]:
    """The rate of each iteration, from the definition."""
    total = recipe.epochs * PER_EPOCH
    rates = []
    for iteration in range(total):
        if recipe.steps is None:
            factor = (1 + math.cos(math.pi * iteration / total)) / 2
        else:
            epoch = iteration // PER_EPOCH
            factor = 0.1 ** sum(epoch >= step for step in recipe.steps)
        rates.append(recipe.lr * factor)
    # From about nothing at the first iteration to the whole rate at the last of the warm-up.
    last = recipe.warm * PER_EPOCH - 1
    for iteration in range(last):
        start = 1e-4
        rates[iteration] = recipe.lr * (start + (1 - start) * iteration / last)
    return rates


def effective_rates(cfg: Config) -> list[float]:
    """The rate of each iteration, of the config's own optimizer and schedulers."""
    wrapper = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
    schedulers = []
    for each in cfg.param_scheduler:
        each = each.copy()
        kind = PARAM_SCHEDULERS.get(each.pop("type"))
        each.setdefault("end", cfg.train_cfg.max_epochs)
        if each.pop("convert_to_iter_based", False):
            schedulers.append(
                kind.build_iter_from_epoch(optimizer=wrapper, epoch_length=PER_EPOCH, **each)
            )
        else:
            schedulers.append(kind(wrapper, **each))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(PER_EPOCH):
            rates.append(wrapper.get_lr()["lr"][0])
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    return rates


def effective_optimizer(cfg: Config) -> tuple[tuple[Any, ...], float]:
    """Type and momentum of the config's optimizer, and its weight decay, of all layers alike."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimizer: torch.optim.Optimizer = build_optim_wrapper(layers, cfg.optim_wrapper).optimizer
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    assert len(decays) == 1
    momentum = optimizer.param_groups[0].get("momentum")
    return (type(optimizer).__name__, momentum), decays.pop()


def convolutions(*shapes: tuple[int, int, int]) -> int:
    """Weights of convolutions from so many to so many channels, of so many pixels squared."""
    return sum(inputs * outputs * size * size for inputs, outputs, size in shapes)


def resnet50() -> int:
    """Weights of its convolutions, the 7 x 7 stem among them."""
    total, inputs = convolutions((3, 64, 7)), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        total += convolutions((inputs, 4 * width, 1))  # the shortcut
        for _ in range(blocks):
            total += convolutions((inputs, width, 1), (width, width, 3), (width, 4 * width, 1))
            inputs = 4 * width
    return total


def resnet18() -> int:
    """Weights of its convolutions, with a 3 x 3 stem."""
    total, inputs = convolutions((3, 64, 3)), 64
    for width in (64, 128, 256, 512):
        if inputs != width:
            total += convolutions((inputs, width, 1))
        total += convolutions((inputs, width, 3), *[(width, width, 3)] * 3)
        inputs = width
    return total


def vgg19() -> int:
    """Weights of its 16 convolutions."""
    widths = [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    return convolutions(*((i, o, 3) for i, o in zip([3, *widths], widths, strict=False)))


def alexnet() -> int:
    """Weights of its five convolutions and its first two fully connected layers."""
    five = convolutions((3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3))
    return five + 256 * 6 * 6 * 4096 + 4096 * 4096


WEIGHTS = {"resnet50": resnet50, "resnet18": resnet18, "vgg19": vgg19, "alexnet": alexnet}
