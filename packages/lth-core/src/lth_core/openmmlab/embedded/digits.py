"""The handwritten digits of scikit-learn: a fixed split, and enlarging without a library."""

from __future__ import annotations

import dataclasses
import functools
import typing

import numpy as np
import numpy.typing as npt

from lth_core.openmmlab.embedded.cache import DataError

Split = typing.Literal["train", "test"]

CLASSES = tuple("0123456789")
"""Names of the digits' classes, by number."""

TEST_FRACTION = 0.25
INK_MAX = 16  # scikit-learn's digits count inked pixels in 4x4 blocks


@dataclasses.dataclass(frozen=True)
class DigitSet:
    """One side of the split.

    Attributes:
        images: ``(N, size, size)`` uint8, white ink (255) on black (0).
        labels: ``(N,)`` int64, 0 to 9.
        indices: ``(N,)`` int64, ascending positions in ``sklearn.datasets.load_digits``.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@functools.cache
def _originals() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All digits: ``(1797, 8, 8)`` float64 of whole numbers 0 to 16, and ``(1797,)`` int64."""
    # Imported late: it takes a second, which readers of a ready cache need not spend.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)


@functools.cache
def split_indices(split: str, seed: int = 0) -> npt.NDArray[np.int64]:
    """Positions of one side of the stratified split, ascending.

    Args:
        split: ``train`` (3 of 4 digits of every class) or ``test`` (the others).
        seed: Chooses which digits are held out.

    Returns:
        ``(N,)`` int64 positions in ``sklearn.datasets.load_digits``, read-only.
    """
    if split not in typing.get_args(Split):
        raise DataError(f"split={split!r}: the digits have a 'train' and a 'test' split")
    _, labels = _originals()
    generator = np.random.default_rng(seed)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASSES)):
        members = np.flatnonzero(labels == label)
        count = round(len(members) * TEST_FRACTION)
        test[generator.permutation(members)[:count]] = True
    indices = np.flatnonzero(test if split == "test" else ~test)
    indices.setflags(write=False)
    return indices


@functools.cache
def _cubic_matrix(size: int) -> npt.NDArray[np.float64]:
    """Catmull-Rom interpolation from 8 samples to ``size``: a ``(size, 8)`` float64 matrix."""
    matrix = np.zeros((size, 8))
    for row in range(size):
        position = (row + 0.5) * 8 / size - 0.5
        first = int(np.floor(position))
        t = position - first
        weights = (
            (-0.5 + t - 0.5 * t * t) * t,
            1.0 + (-2.5 + 1.5 * t) * t * t,
            (0.5 + 2.0 * t - 1.5 * t * t) * t,
            (-0.5 + 0.5 * t) * t * t,
        )
        for offset, weight in zip(range(-1, 3), weights, strict=True):
            matrix[row, min(max(first + offset, 0), 7)] += weight
    return matrix


def ink(index: int, height: int, width: int) -> npt.NDArray[np.float64]:
    """One digit enlarged from 8x8.

    Args:
        index: Position in ``sklearn.datasets.load_digits``.
        height: Rows wanted, in pixels.
        width: Columns wanted, in pixels.

    Returns:
        ``(height, width)`` float64 ink from 0 (none) to 1.
    """
    images, _ = _originals()
    enlarged = _cubic_matrix(height) @ images[index] @ _cubic_matrix(width).T
    return np.clip(enlarged / INK_MAX, 0.0, 1.0)


def label_of(index: int) -> int:
    """The class, 0 to 9, of the digit at a position in ``sklearn.datasets.load_digits``."""
    return int(_originals()[1][index])


@functools.cache
def digits(split: str = "train", seed: int = 0, size: int = 32) -> DigitSet:
    """The digits of one split.

    Args:
        split: ``train`` (1,347 digits) or ``test`` (450), stratified by class.
        seed: Chooses which digits are held out.
        size: Height and width of the images, in pixels.

    Returns:
        The same arrays at every call; they are read-only.
    """
    indices = split_indices(split, seed)
    images = np.stack([np.rint(ink(int(i), size, size) * 255).astype(np.uint8) for i in indices])
    labels = _originals()[1][indices]
    for array in (images, labels):
        array.setflags(write=False)
    return DigitSet(images, labels, indices)
