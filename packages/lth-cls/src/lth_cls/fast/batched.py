"""Transforms of whole batches on their device, each in place of one of single pictures.

A batched transform is made from the transform that it stands for, as the config builds that: its
settings, their defaults and their checks are the original's. It gets and gives ``(N, C, H, W)``
uint8, rounds as the original does, and keeps to plain tensor algebra without data-dependent shapes,
so that the host never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from lth_core.errors import ConfigError
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS
from torch import Tensor

from lth_cls.fast.draws import Draws

KEY = "in_memory"


class Batched(Protocol):
    """What a batched transform does."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """``(N, C, H, W)`` uint8 to the same of, maybe, another size."""


class BatchedTransform:
    """Base of batched transforms.

    Args:
        stock: The transform of single pictures that it stands for.

    Raises:
        ConfigError: If ``stock`` has settings that the batched one does not know.
    """

    def __init__(self, stock: Any) -> None:
        self.stock = stock

    def refuse(self, setting: str, wanted: str) -> ConfigError:
        """The error of a setting that has no batched counterpart."""
        name, value = type(self.stock).__name__, getattr(self.stock, setting)
        return ConfigError(
            f"{KEY}: {name} with {setting}={value!r} has no batched counterpart; use {wanted}"
        )


_COUNTERPARTS: dict[type, Callable[[Any], Batched]] = {}

Made = TypeVar("Made", bound=Callable[[Any], Batched])


def stands_for(*kinds: type) -> Callable[[Made], Made]:
    """Registers a batched transform for the transforms of single pictures that it stands for.

    Subclasses do not count: they may do something else.
    """

    def register(made: Made) -> Made:
        for kind in kinds:
            _COUNTERPARTS[kind] = made
        return made

    return register


def known() -> list[str]:
    """Names of the transforms that have a batched counterpart, sorted."""
    return sorted(kind.__name__ for kind in _COUNTERPARTS)


def batched(stock: Any) -> Batched:
    """What does to a batch what a transform does to single pictures.

    Raises:
        ConfigError: If there is no such thing.
    """
    made = _COUNTERPARTS.get(type(stock))
    if made is None:
        raise ConfigError(
            f"{KEY}: {type(stock).__name__} has no batched counterpart; known: "
            f"{', '.join(known())}; leave the loader out of {KEY}.loaders, or set strict=False"
        )
    return made(stock)


def built(step: Any) -> Any:
    """A transform of single pictures, of its config if it is none yet."""
    if not isinstance(step, Mapping):
        return step
    with DefaultScope.overwrite_default_scope("mmpretrain"):  # for those that it wraps
        return TRANSFORMS.build(step)


class Sequence:
    """Batched transforms, one after the other.

    Args:
        stocks: Those of single pictures that they stand for.
    """

    def __init__(self, stocks: Iterable[Any]) -> None:
        self.transforms = [batched(stock) for stock in stocks]

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`Batched`."""
        for transform in self.transforms:
            images = transform(images, draws)
        return images


def choose(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Of two batches of one shape, ``yes`` where ``mask`` ``(N,)`` holds and ``no`` elsewhere."""
    return torch.where(mask.view(-1, *[1] * (yes.dim() - 1)), yes, no)


def to_bytes(pixels: Tensor) -> Tensor:
    """uint8 of float pixels: rounded half up and clipped, as Pillow and OpenCV do."""
    return (pixels + 0.5).clamp_(0, 255.5).to(torch.uint8)
