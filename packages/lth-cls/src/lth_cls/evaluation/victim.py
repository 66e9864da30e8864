"""A classifier as attacks see it: a function from pixels in [0, 1] to scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lth_core.errors import ConfigError
from lth_core.modes import evaluating
from mmengine.runner.amp import autocast
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from lth_cls.adversarial.pixels import PixelSpace

_TIE = 1e-3
"""Probabilities that are nearer than that may be ordered either way by rounding."""


class Victim:
    """An mmpretrain classifier under attack.

    Args:
        model: With ``data_preprocessor`` and the mode ``tensor``, which gives scores.
        half: Whether it computes in half precision, as mmengine's ``fp16`` has it: in the type that
            torch takes for that, bfloat16 on a CPU.

    Attributes:
        space: Between pixels in [0, 1] and what the model takes.
    """

    def __init__(self, model: nn.Module, half: bool = False) -> None:
        self.model: Any = model
        self.half = half
        self.space = PixelSpace(model.get_submodule("data_preprocessor"))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Scores before the softmax, ``(N, classes)`` float32, of pixels ``(N, C, H, W)``.

        Raises:
            ConfigError: If the model gives something else.
        """
        with autocast(enabled=self.half):
            scores = self.model(self.space.to_inputs(pixels), mode="tensor")
        if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(pixels):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ConfigError(
                f"{type(self.model).__name__} cannot be attacked: its scores are {found}, not one "
                "number for each image and class"
            )
        return scores.float()

    @torch.no_grad()
    def predict(self, pixels: Tensor, samples: Sequence[DataSample]) -> list[DataSample]:
        """What the model says of pixels; ``samples`` stay as they are."""
        with autocast(enabled=self.half):
            found: list[DataSample] = self.model(
                self.space.to_inputs(pixels), [each.clone() for each in samples], mode="predict"
            )
        return found

    def check(self, pixels: Tensor, samples: Sequence[DataSample]) -> None:
        """Refuses pixels out of range, and models that decide by other scores than it attacks.

        Raises:
            ConfigError: Saying which.
        """
        self.space.check(pixels)
        with torch.no_grad():
            best = self(pixels).softmax(1).topk(2, dim=1)
        sure = best.values[:, 0] - best.values[:, -1] > _TIE
        said = torch.stack([each.pred_label.reshape(()) for each in self.predict(pixels, samples)])
        if (said != best.indices[:, 0])[sure].any():
            raise ConfigError(
                f"{type(self.model).__name__} cannot be attacked: the class that it predicts is "
                "not the one of its largest score"
            )


def labels_of(samples: Sequence[DataSample]) -> Tensor:
    """The class of each image, ``(N,)`` int64.

    Raises:
        ConfigError: If an image has none, or several.
    """
    for sample in samples:
        if "gt_label" not in sample or sample.gt_label.numel() != 1:
            raise ConfigError("only classifiers of images with one class each can be attacked")
    return torch.stack([sample.gt_label.reshape(()) for sample in samples])


@contextmanager
def bfloat16(wanted: bool = True) -> Iterator[None]:
    """Makes bfloat16 the half precision of GPUs, if wanted."""
    if not (wanted and torch.cuda.is_available()):
        yield
        return
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_dtype("cuda", before)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients for parameters; afterwards all is as it was."""
    wanted = [each for each in model.parameters() if each.requires_grad]
    for each in wanted:
        each.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for each in wanted:
            each.requires_grad_(True)
