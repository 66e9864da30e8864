"""Digit scenes: several digits on a cluttered background, with exact boxes and pixel labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lth_core.openmmlab.embedded.cache import DataError
from lth_core.openmmlab.embedded.digits import ink, label_of, split_indices

IGNORE = 255  # VOC's value for pixels that belong to no class for certain
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of RGB, ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class SceneSettings:
    """What scenes look like. Lengths are in pixels, brightness runs from 0 to 255.

    Attributes:
        image_size: Height and width of a scene.
        train_images: Scenes of the train split.
        test_images: Scenes of the test split.
        digits: Fewest and most digits in one scene.
        digit_size: Smallest and largest height of a digit's 8x8 grid.
        stretch: Largest ratio of width to height, or height to width.
        contrast: How much more luminance a digit has, at least, than the background under it.
        clutter: Fewest and most stray strokes, rings and patches behind the digits.
        noise: Standard deviation of the pixel noise.
        sure: Ink from which a pixel belongs to the digit.
        unsure: Ink below which a pixel belongs to the background; between the two it is ignored.
    """

    image_size: int = 96
    train_images: int = 1000
    test_images: int = 200
    digits: tuple[int, int] = (4, 7)
    digit_size: tuple[int, int] = (20, 34)
    stretch: float = 1.25
    contrast: float = 80.0
    clutter: tuple[int, int] = (4, 9)
    noise: float = 5.0
    sure: float = 0.4
    unsure: float = 0.15

    def __post_init__(self) -> None:
        if self.digit_size[1] * self.stretch > self.image_size:
            raise DataError(
                f"digit_size={self.digit_size} with stretch={self.stretch}: the largest digit "
                f"does not fit into image_size={self.image_size}"
            )
        for name in ("digits", "digit_size", "clutter"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise DataError(f"{name}={low, high}: want the smallest first, and none below 0")

    @classmethod
    def from_mapping(cls, fields: Mapping[str, Any]) -> SceneSettings:
        """The default settings with some fields changed; an unknown field is refused."""
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise DataError(
                f"unknown scene setting {', '.join(unknown)}: there are {', '.join(known)}"
            )
        # Configs have lists where this class has tuples.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Scene:
    """One composed image with all that is known about it.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        classes: ``(H, W)`` uint8: 0 background, digit + 1, or `IGNORE` at the digits' edges.
        instances: ``(H, W)`` uint8: 0 background, 1, 2, ... one per digit, or `IGNORE`.
        boxes: ``(N, 4)`` int64 ``x1, y1, x2, y2``, the first and last column and row (both
            included, from 0) that hold pixels of instance 1, 2, ... N.
        labels: ``(N,)`` int64, 0 to 9.
        sources: ``(N,)`` int64 positions in ``sklearn.datasets.load_digits``.
    """

    image: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]


def compose(settings: SceneSettings, split: str, index: int, seed: int = 0) -> Scene:
    """Makes one scene; each follows from its own random stream, whatever others are made.

    Args:
        settings: What scenes look like.
        split: ``train`` or ``test``: only digits of this side of the split are used.
        index: Number of the scene, from 0.
        seed: Of the split of the digits and of the scenes.
    """
    pool = split_indices(split, seed)
    stream = np.random.default_rng([seed, int(split == "test"), index])
    size = settings.image_size
    canvas = _background(settings, stream)
    classes = np.zeros((size, size), dtype=np.uint8)
    instances = np.zeros_like(classes)
    boxes: list[list[int]] = []
    labels: list[int] = []
    sources: list[int] = []
    wanted = int(stream.integers(settings.digits[0], settings.digits[1] + 1))
    # A crowded scene may have no room for the next digit: a few tries, then fewer digits.
    for _ in range(8 * wanted):
        if len(labels) == wanted:
            break
        source = int(stream.choice(pool))
        drawing = ink(source, *_digit_shape(settings, stream))
        height, width = drawing.shape
        top = int(stream.integers(0, size - height + 1))
        left = int(stream.integers(0, size - width + 1))
        if instances[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1].any():
            continue
        here = (slice(top, top + height), slice(left, left + width))
        sure, touched = drawing >= settings.sure, drawing >= settings.unsure
        colour = _brighter(canvas[here][sure].mean(axis=0), settings.contrast, stream)
        canvas[here] += drawing[..., None] * (colour - canvas[here])
        classes[here][touched] = IGNORE
        instances[here][touched] = IGNORE
        classes[here][sure] = label_of(source) + 1
        instances[here][sure] = len(labels) + 1
        rows, columns = np.flatnonzero(sure.any(axis=1)), np.flatnonzero(sure.any(axis=0))
        boxes.append([left + columns[0], top + rows[0], left + columns[-1], top + rows[-1]])
        labels.append(label_of(source))
        sources.append(source)
    canvas += stream.normal(0.0, settings.noise, canvas.shape)
    return Scene(
        np.rint(np.clip(canvas, 0, 255)).astype(np.uint8),
        classes,
        instances,
        np.array(boxes, dtype=np.int64).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.array(sources, dtype=np.int64),
    )


def _digit_shape(settings: SceneSettings, stream: np.random.Generator) -> tuple[int, int]:
    """Height and width for the next digit, in pixels."""
    height = int(stream.integers(settings.digit_size[0], settings.digit_size[1] + 1))
    stretch = settings.stretch ** stream.uniform(-1.0, 1.0)
    return height, round(height * stretch)


def _brighter(
    background: npt.NDArray[np.float64], contrast: float, stream: np.random.Generator
) -> npt.NDArray[np.float64]:
    """A random RGB colour with at least so much more luminance than an RGB background."""
    for _ in range(64):
        colour = stream.uniform(50.0, 255.0, 3)
        if (colour - background) @ LUMINANCE >= contrast:
            return colour
    return np.full(3, 255.0)


def _background(settings: SceneSettings, stream: np.random.Generator) -> npt.NDArray[np.float64]:
    """Soft colours with stray shapes in front: ``(H, W, 3)`` float64 RGB."""
    size = settings.image_size
    # A coarse grid of colours, interpolated, around one base colour.
    grid = stream.uniform(20.0, 140.0, 3) + stream.normal(0.0, 20.0, (4, 4, 3))
    steps = np.linspace(0.0, 3.0, size)
    hats = np.clip(1.0 - np.abs(steps[:, None] - np.arange(4)), 0.0, 1.0)
    canvas = np.einsum("yi,xj,ijc->yxc", hats, hats, grid)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float64)
    low, high = settings.clutter
    for _ in range(int(stream.integers(low, high + 1))):
        shape = _stray_shape(ys, xs, stream)
        opacity = stream.uniform(0.3, 0.8)
        canvas[shape] += opacity * (stream.uniform(0.0, 200.0, 3) - canvas[shape])
    return canvas


def _stray_shape(
    ys: npt.NDArray[np.float64], xs: npt.NDArray[np.float64], stream: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """A stroke, a ring or a patch about as large as digits: ``(H, W)`` bool."""
    size = len(ys)
    y, x = stream.uniform(0.0, size, 2)
    reach = stream.uniform(0.05, 0.2) * size
    angle = stream.uniform(0.0, np.pi)
    thickness = stream.uniform(0.7, 2.0)
    # Coordinates along and across the shape's own axis.
    along = (xs - x) * np.cos(angle) + (ys - y) * np.sin(angle)
    across = (ys - y) * np.cos(angle) - (xs - x) * np.sin(angle)
    kind = stream.integers(3)
    if kind == 0:
        return (np.abs(along) <= reach) & (np.abs(across) <= thickness)
    if kind == 1:
        return np.abs(np.hypot(along, across * 1.4) - reach) <= thickness
    return (np.abs(along) <= reach) & (np.abs(across) <= 0.6 * reach)
