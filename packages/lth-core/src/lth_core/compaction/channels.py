"""Channels of a traced model: which belong together, and which hold a known constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Value:
    """What is known of one tensor in the graph.

    Attributes:
        dim: The dimension along which channels lie.
        ids: int64 ``(channels,)``: one id for each, see :class:`Channels`.
        constant: float64 ``(channels,)``: what the channel is at every place of every picture, NaN
            where it depends on the picture or on the place.
    """

    dim: int
    ids: np.ndarray
    constant: np.ndarray

    def with_constant(self, constant: np.ndarray) -> Value:
        """The same channels holding something else."""
        return Value(self.dim, self.ids, constant)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of the model, where it is used.

    Attributes:
        name: Of the module.
        inputs: Ids of the channels that it reads.
        outputs: Ids of those that it writes.
        constant: Of the channels that it reads, see :class:`Value`.
        kernels: bool ``(outputs, inputs)``: where a kernel is not all zero. Of a grouped
            convolution ``(outputs, inputs / groups)``.
        sums: float64, of the same shape: the sum over each kernel.
        padded: Whether zeros are added around what it reads.
        groups: Of a convolution; 1 otherwise.
    """

    name: str
    inputs: np.ndarray
    outputs: np.ndarray
    constant: np.ndarray
    kernels: np.ndarray
    sums: np.ndarray
    padded: bool
    groups: int

    def foldable(self) -> np.ndarray:
        """Inputs whose share of each output is one number: bool.

        A constant map is one at the border too if no zeros are added there, or if it is zero.
        """
        known = ~np.isnan(self.constant)
        return known & (self.constant == 0) if self.padded else known

    def carrier(self) -> int | None:
        """The input into which all other constants can be merged that no bias can stand for.

        A padded convolution turns each constant map into ``constant`` times a map of its own
        kernel with a border. Those of the other maps are had from one of them with the sum of all
        kernels, each in proportion.
        """
        constant = np.where(np.isnan(self.constant) | self.foldable(), 0, np.abs(self.constant))
        return int(constant.argmax()) if constant.any() else None


@dataclass(frozen=True)
class Norm:
    """A batch norm of the model.

    Attributes:
        name: Of the module.
        ids: Of its channels.
    """

    name: str
    ids: np.ndarray


class Channels:
    """All channels of a model, in classes that can only be removed as one.

    Every tensor's channel has an id. An operator that goes channel by channel hands ids on; one
    that brings tensors together, such as a residual sum, makes one class of those that meet.
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._pinned: list[int] = []

    def fresh(self, number: int, pinned: bool = False) -> np.ndarray:
        """New ids, each a class of its own; ``pinned`` ones stay for good."""
        ids = np.arange(len(self._parents), len(self._parents) + number)
        self._parents.extend(ids.tolist())
        if pinned:
            self.pin(ids)
        return ids

    def pin(self, ids: np.ndarray) -> None:
        """Says that these are needed, whatever else is."""
        self._pinned.extend(ids.tolist())

    def tie(self, ids: np.ndarray, others: np.ndarray) -> None:
        """Makes one class of each pair."""
        for one, other in zip(ids.tolist(), others.tolist(), strict=True):
            self._parents[self._root(one)] = self._root(other)

    def roots(self, ids: np.ndarray) -> np.ndarray:
        """The id that stands for the class of each."""
        return np.array([self._root(one) for one in ids.tolist()], dtype=np.int64)

    def pinned(self) -> np.ndarray:
        """By id, whether its class is needed whatever else is; true for roots alone."""
        needed = np.zeros(len(self._parents), dtype=bool)
        needed[self.roots(np.array(self._pinned, dtype=np.int64))] = True
        return needed

    def _root(self, one: int) -> int:
        parents = self._parents
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one
