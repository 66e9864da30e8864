"""A config's pipeline in two: what is done once while loading, and what is drawn for each batch."""

from __future__ import annotations

from typing import Any

from lth_core.errors import ConfigError
from mmcv.transforms import CenterCrop, LoadImageFromFile, Resize
from mmpretrain.datasets.transforms import (
    EfficientNetCenterCrop,
    MultiView,
    NumpyToPIL,
    PackInputs,
    PILToNumpy,
    ResizeEdge,
)
from torch import Tensor

from lth_cls.fast.batched import KEY, Sequence, built
from lth_cls.fast.draws import Draws

_ALIKE_EVERY_TIME = (
    CenterCrop,
    EfficientNetCenterCrop,
    LoadImageFromFile,
    NumpyToPIL,
    PILToNumpy,
    Resize,
    ResizeEdge,
)
"""Transforms that draw nothing: those at the head of a pipeline are carried out once."""


class Pipeline:
    """A pipeline of single pictures, to be carried out on batches.

    Args:
        steps: Its transforms, as in a config. The last is ``PackInputs``.

    Attributes:
        once: Its head, transforms of single pictures that draw nothing.
        pack: Its ``PackInputs``.

    Raises:
        ConfigError: If a transform has no batched counterpart.
    """

    def __init__(self, steps: list[Any]) -> None:
        stocks = [built(step) for step in steps]
        if not stocks or type(stocks[-1]) is not PackInputs:
            raise ConfigError(f"{KEY}: the pipeline has to end with PackInputs")
        *stocks, self.pack = stocks
        count = 0
        while count < len(stocks) and type(stocks[count]) in _ALIKE_EVERY_TIME:
            count += 1
        self.once, drawn = stocks[:count], stocks[count:]
        self._views: list[Sequence] | None = None
        if drawn and type(drawn[-1]) is MultiView:
            *drawn, views = drawn
            each = {id(way): Sequence(way.transforms) for way in views.pipelines}
            self._views = [each[id(way)] for way in views.transforms]
        self._steps = Sequence(drawn)

    @property
    def draws(self) -> bool:
        """Whether anything is left to do for each batch."""
        return bool(self._steps.transforms) or self._views is not None

    def __call__(self, images: Tensor, draws: Draws) -> Tensor | list[Tensor]:
        """A batch of pictures, or of several views of them.

        Args:
            images: ``(N, C, H, W)`` uint8.
            draws: The batch's random numbers.

        Returns:
            ``(N, C, H', W')`` uint8, or a list of one such for each view.
        """
        images = self._steps(images, draws)
        if self._views is None:
            return images
        return [view(images, draws) for view in self._views]
