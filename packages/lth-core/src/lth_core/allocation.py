"""Allocation: how many weights each layer loses, given one number for all of them.

An allocation is a function from scores, masks and a count to a *partition*: groups of weights and
how many to remove in each. ``global`` is one group of everything; ``uniform`` one per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from lth_core.errors import ConfigError

Allocation = Callable[[Mapping[str, Tensor], float], "list[tuple[list[str], int]]"]
"""Masks by name and the amount -> groups of names, each with the number of weights to remove."""

_ALLOCATIONS: dict[str, Allocation] = {}


def allocation(name: str) -> Callable[[Allocation], Allocation]:
    """Registers an allocation under ``name``."""

    def register(function: Allocation) -> Allocation:
        _ALLOCATIONS[name] = function
        return function

    return register


def get_allocation(name: str) -> Allocation:
    """The allocation registered under ``name``.

    Raises:
        ConfigError: If there is none.
    """
    if name not in _ALLOCATIONS:
        raise ConfigError(
            f"unknown allocation {name!r}; choose from {', '.join(sorted(_ALLOCATIONS))}"
        )
    return _ALLOCATIONS[name]


@allocation("global")
def whole(masks: Mapping[str, Tensor], amount: float) -> list[tuple[list[str], int]]:
    """All weights compete with each other (all three papers)."""
    kept = sum(int(mask.count_nonzero()) for mask in masks.values())
    return [(list(masks), round(amount * kept))]


@allocation("uniform")
def uniform(masks: Mapping[str, Tensor], amount: float) -> list[tuple[list[str], int]]:
    """Every layer loses the same fraction of what it still has."""
    return [([name], round(amount * int(mask.count_nonzero()))) for name, mask in masks.items()]
