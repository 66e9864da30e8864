"""Criteria: how much each weight is worth. The lowest scores are pruned first.

A criterion is a function from the model's weights to scores of the same shapes; register one with
``@criterion("name")`` and ``prune(..., criterion="name")`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lth_core.errors import ConfigError

Criterion = Callable[[Mapping[str, Tensor], "torch.Generator | None"], dict[str, Tensor]]
"""Weights by name and a random generator (or None) -> scores by name, same shapes."""

_CRITERIA: dict[str, Criterion] = {}


def criterion(name: str) -> Callable[[Criterion], Criterion]:
    """Registers a criterion under ``name``."""

    def register(function: Criterion) -> Criterion:
        _CRITERIA[name] = function
        return function

    return register


def get_criterion(name: str) -> Criterion:
    """The criterion registered under ``name``.

    Raises:
        ConfigError: If there is none.
    """
    if name not in _CRITERIA:
        raise ConfigError(f"unknown criterion {name!r}; choose from {', '.join(sorted(_CRITERIA))}")
    return _CRITERIA[name]


@criterion("magnitude")
def magnitude(
    weights: Mapping[str, Tensor], generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Absolute value (paper A, Algorithm 1). Weights of any float dtype; scores in the same."""
    return {name: weight.abs() for name, weight in weights.items()}


@criterion("random")
def random(
    weights: Mapping[str, Tensor], generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Independent uniform scores: every weight is equally likely to go.

    Drawn in float64 on the CPU in order of name, so that one seed gives one mask on any device.
    """
    return {
        name: torch.rand(weights[name].shape, generator=generator, dtype=torch.float64)
        for name in sorted(weights)
    }
