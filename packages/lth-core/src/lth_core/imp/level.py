"""A level of a chain, and what trains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from lth_core.clock import Clock
from lth_core.errors import ExactnessError, RunError
from lth_core.files import load_tensors, save_tensors
from lth_core.imp.directory import writing
from lth_core.imp.settings import IMPSettings
from lth_core.masks import MaskSet
from lth_core.scores import Criterion
from lth_core.weights import digest


@dataclass
class Level:
    """One level to train, as handed to a :class:`LevelTrainer`.

    Attributes:
        index: Its number k.
        directory: Where the training keeps its files.
        masks: What is kept, named relative to the backbone; all of it at level 0.
        rewind_path: Where level 0 saves the weights to rewind to (:meth:`save_rewind`).
        start_path: The weights that a later level starts from (:meth:`load_start`).
        carried: What the level before handed over (:attr:`Trained.carried`), None for nothing.
        train: False if the level is to be evaluated only.
        clock: What its time goes to.
    """

    index: int
    directory: Path
    masks: MaskSet
    rewind_path: Path
    start_path: Path
    carried: Mapping[str, Any] | None = None
    train: bool = True
    clock: Clock = field(default_factory=Clock)

    def save_rewind(self, weights: Mapping[str, Tensor]) -> None:
        """Keeps the weights that later levels go back to: the whole model's state.

        Raises:
            RunError: If they cannot be written.
        """
        with self.clock.time("saving"), writing(self.rewind_path):
            save_tensors(self.rewind_path, weights, {"digest": digest(weights)})

    def has_rewind(self) -> bool:
        """Whether level 0 has saved weights to rewind to, and they verify."""
        try:
            load_tensors(self.rewind_path, RunError, "rewind weights")
        except RunError:
            return False
        return True

    def load_start(self) -> dict[str, Tensor]:
        """The weights to start from, before they are masked: the whole model's state.

        Raises:
            RunError: If they are missing or damaged.
        """
        return load_tensors(self.start_path, RunError, "rewind weights")[0]

    def verify_start(self, weights: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> None:
        """Proves that a model that is about to be trained is where it should be, bit for bit.

        Args:
            weights: The model's state.
            prefixes: Where in it the masks apply: to the backbone, and to its twins.

        Raises:
            ExactnessError: Naming the first tensor that is not the one to start from, masked.
        """
        expected = under(self.masks, self.load_start(), prefixes)
        for name, tensor in expected.items():
            if digest({name: weights[name]}) != digest({name: tensor}):
                raise ExactnessError(f"level {self.index} does not start from its {name}")


@dataclass(frozen=True)
class Trained:
    """What a training of a level gives.

    Attributes:
        weights: The whole model's state at the end: the live weights, never averages.
        metrics: What was measured.
        prefixes: Where in ``weights`` the masks apply: to the backbone, and to its twins.
        carried: What the next level takes over, plain data and tensors; by :data:`CARRIED`.
        model: The model itself, for criteria that run it.
        criterion: The criterion with its data, if the settings name one that needs data.
        seeds: Which seeds the training followed, by what they decide.
        finished: Of a training that ended before its schedule did: where and why; plain data.
    """

    weights: Mapping[str, Tensor]
    metrics: Mapping[str, float]
    prefixes: tuple[str, ...]
    carried: Mapping[str, Any] | None = None
    model: nn.Module | None = None
    criterion: Criterion | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)
    finished: Mapping[str, Any] | None = None


class LevelTrainer(Protocol):
    """Trains one level. Must resume by itself if the level's directory holds a part of it."""

    def scope(self, settings: IMPSettings) -> MaskSet:
        """The masks of level 0."""

    def train(self, level: Level) -> Trained:
        """Trains, or goes on training, or (``level.train`` false) only evaluates."""

    def fresh(self, seed: int) -> Mapping[str, Tensor]:
        """A model's state as freshly initialised at random from ``seed``, without pre-training."""

    def share(self, masks: MaskSet) -> MaskSet:
        """The main process's masks, on every process."""

    def wait(self) -> None:
        """Returns once every process has come here."""


@dataclass(frozen=True)
class LevelResult:
    """A finished level.

    Attributes:
        index: Its number k.
        sparsity: Fraction of the weights in scope that are pruned.
        digest: Of its masks.
        metrics: What was measured; nothing of a level that ended early, whose numbers are not
            comparable to those of full trainings.
        finished: Of a level that ended early: where and why, and its metrics; else None.
    """

    index: int
    sparsity: float
    digest: str
    metrics: dict[str, float] = field(default_factory=dict)
    finished: dict[str, Any] | None = None


def under(
    masks: MaskSet, weights: Mapping[str, Tensor], prefixes: tuple[str, ...]
) -> dict[str, Tensor]:
    """``weights`` with zeros where they are pruned.

    Args:
        masks: By name, relative to the backbone.
        weights: A model's state.
        prefixes: Where in it the masks apply.
    """
    masked = dict(weights)
    for prefix in prefixes:
        for name, mask in masks.items():
            tensor = masked[prefix + name]
            masked[prefix + name] = tensor.masked_fill(~mask.to(tensor.device), 0)
    return masked
