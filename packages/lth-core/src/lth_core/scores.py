"""Criteria: how much each weight is worth. The lowest scores are pruned first.

A criterion is a small class, or a function of the weights alone; register one with
``@criterion("name")`` and ``prune(..., criterion="name")`` finds it. Those that run the model
(SNIP, GraSP, SynFlow) are in :mod:`lth_core.criteria`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from lth_core.errors import ConfigError

ScoreFunction = Callable[[Mapping[str, Tensor], "torch.Generator | None"], dict[str, Tensor]]
"""Weights by name and a random generator (or None) -> scores by name, same shapes."""


@dataclass(frozen=True)
class Subject:
    """What is to be scored.

    Attributes:
        weights: The weights in scope by the masks' names, float tensors. Not to be changed.
        masks: What is kept of each, bool tensors of the same shapes, on any device.
        model: The model they belong to, without wrappers; None if only its weights were given.
        prefix: What stands before the masks' names in ``model``.
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    model: nn.Module | None = None
    prefix: str = ""


class Criterion(ABC):
    """Gives each weight a score.

    Attributes:
        steps: In how many steps a prune goes to its target, scoring anew before each. Between
            them the number of kept weights falls exponentially.
        usage: For criteria that cannot do without arguments: how one is made. Asking for one by
            its bare name is refused with this.
    """

    steps: int = 1
    usage: ClassVar[str] = ""

    @abstractmethod
    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Scores of ``subject.weights``: same names and shapes, any float dtype and device.

        Scores where the mask is False are not looked at. The subject must be left as it is.
        """


class _OfWeights(Criterion):
    """A plain function of the weights as a criterion."""

    def __init__(self, function: ScoreFunction) -> None:
        self.function = function

    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        return self.function(subject.weights, generator)


_CRITERIA: dict[str, type[Criterion] | ScoreFunction] = {}
_C = TypeVar("_C", bound="type[Criterion] | ScoreFunction")


def criterion(name: str) -> Callable[[_C], _C]:
    """Registers a criterion, a class or a function of the weights, under ``name``."""

    def register(made: _C) -> _C:
        _CRITERIA[name] = made
        return made

    return register


def _all_criteria() -> dict[str, type[Criterion] | ScoreFunction]:
    """Those that run the model too, whoever has imported what before."""
    importlib.import_module("lth_core.criteria")  # registers its own, and imports this module
    return _CRITERIA


def require_known(name: str) -> None:
    """Looks whether a criterion is registered under ``name``.

    Raises:
        ConfigError: If none is.
    """
    known = _all_criteria()
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"unknown criterion {name!r}; choose from {', '.join(sorted(known))}")


def get_criterion(wanted: str | Criterion) -> Criterion:
    """The criterion registered under a name; a criterion object is handed back as it is.

    Raises:
        ConfigError: If there is none of that name, or it needs arguments such as data.
    """
    if isinstance(wanted, Criterion):
        return wanted
    require_known(wanted)
    found = _all_criteria()[wanted]
    if not isinstance(found, type):
        return _OfWeights(found)
    made = cast("type[Criterion]", found)
    if made.usage:
        raise ConfigError(
            f"criterion {wanted!r} needs data; pass {made.usage} in place of its name"
        )
    return made()


@criterion("magnitude")
class Magnitude(Criterion):
    """Absolute value (paper A, Algorithm 1). Scores in the weights' own dtype."""

    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``|w|``."""
        return {name: weight.abs() for name, weight in subject.weights.items()}


@criterion("random")
class Random(Criterion):
    """Independent uniform scores: every weight is equally likely to go.

    Drawn in float64 on the CPU in order of name, so that one seed gives one mask on any device.
    """

    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Uniform in [0, 1), float64, on the CPU."""
        return {
            name: torch.rand(subject.weights[name].shape, generator=generator, dtype=torch.float64)
            for name in sorted(subject.weights)
        }
