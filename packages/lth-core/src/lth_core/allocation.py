"""Allocation: how many weights each layer loses, given one number for all of them.

An allocation is a function from masks and the amount to a *partition*: groups of weights and how
many to remove in each. ``global`` is one group of everything, the others have one per layer.

All of them remove exactly ``round(amount * kept)`` weights, half to even, so that levels of equal
number are of equal size whatever the allocation. Where shares of layers are not whole numbers, the
layers with the largest remainders get one more (earlier names first among equals).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from torch import Tensor

from lth_core.errors import ConfigError, MaskError
from lth_core.masks import MaskSet
from lth_core.scope import join_some

Allocation = Callable[[Mapping[str, Tensor], float], "list[tuple[list[str], int]]"]
"""Masks by name and the amount -> groups of names, each with the number of weights to remove."""

_ALLOCATIONS: dict[str, Allocation] = {}


def allocation(name: str) -> Callable[[Allocation], Allocation]:
    """Registers an allocation under ``name``."""

    def register(function: Allocation) -> Allocation:
        _ALLOCATIONS[name] = function
        return function

    return register


def get_allocation(wanted: str | Allocation) -> Allocation:
    """The allocation registered under a name; a function is handed back as it is.

    Raises:
        ConfigError: If there is none of that name.
    """
    if callable(wanted):
        return wanted
    if wanted not in _ALLOCATIONS:
        raise ConfigError(
            f"unknown allocation {wanted!r}; choose from {', '.join(sorted(_ALLOCATIONS))}"
        )
    return _ALLOCATIONS[wanted]


@allocation("global")
def whole(masks: Mapping[str, Tensor], amount: float) -> list[tuple[list[str], int]]:
    """All weights compete with each other (all three papers)."""
    return [(list(masks), round(amount * sum(_counts(masks).values())))]


@allocation("uniform")
def uniform(masks: Mapping[str, Tensor], amount: float) -> list[tuple[list[str], int]]:
    """Every layer loses the same fraction of what it still has."""
    kept = _counts(masks)
    removed = share_out(round(amount * sum(kept.values())), kept, kept)
    return [([name], count) for name, count in removed.items()]


@allocation("erk")
def erdos_renyi_kernel(masks: Mapping[str, Tensor], amount: float) -> list[tuple[list[str], int]]:
    """Each layer keeps a number in proportion to the sum of its dimensions.

    Erdős–Rényi–Kernel (Evci et al.: Rigging the lottery, ICML 2020): the density of a weight
    ``(out, in, kh, kw)`` is in proportion to ``(out + in + kh + kw) / (out · in · kh · kw)``.
    Layers that have less than their share (small ones; in later rounds all that were pruned
    further) keep what they have, and the others share the rest in the same proportion.
    """
    kept = _counts(masks)
    total = sum(kept.values())
    # At least 1, so that a weight without dimensions has a share too.
    dimensions = {name: max(1, sum(mask.shape)) for name, mask in masks.items()}
    remaining = share_out(total - round(amount * total), dimensions, kept)
    return [([name], kept[name] - count) for name, count in remaining.items()]


class AsIn:
    """Every layer ends with as many weights as it keeps in a given mask.

    The counts are those of the mask, so prune's ``amount`` plays no part.

    Args:
        target: The mask whose counts are wanted; names and shapes as in the masks to prune.
    """

    def __init__(self, target: MaskSet) -> None:
        self.target = target

    def __call__(self, masks: Mapping[str, Tensor], amount: float) -> list[tuple[list[str], int]]:
        """The removals that lead from ``masks`` to the counts.

        Raises:
            MaskError: If the two differ in names or shapes, or a layer keeps fewer weights already
                than it should end with.
        """
        strangers = sorted(masks.keys() ^ self.target.keys()) or [
            name for name, mask in masks.items() if mask.shape != self.target[name].shape
        ]
        if strangers:
            raise MaskError(
                f"AsIn: the mask is of another model: {join_some(strangers)} is in one only or of "
                "another shape"
            )
        kept, wanted = _counts(masks), _counts(self.target)
        short = [f"{n} keeps {kept[n]}, not {wanted[n]}" for n in kept if kept[n] < wanted[n]]
        if short:
            raise MaskError(
                f"AsIn: {join_some(short)}; pruning brings no weight back, start from larger masks"
            )
        return [([name], kept[name] - wanted[name]) for name in kept]


def share_out(total: int, weights: Mapping[str, int], caps: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers in proportion to ``weights``, none above its cap, that add up to ``total``.

    What a capped share cannot take goes to the others, in proportion to their weights. Exact: the
    arithmetic is rational, and rounding is by largest remainder.

    Args:
        total: At most the sum of ``caps``.
        weights: Of each share, by name; positive unless its cap is 0.
        caps: Of each share, by name.
    """
    exact = {name: Fraction(cap) for name, cap in caps.items()}
    shared = {name for name, cap in caps.items() if cap}
    while shared:
        rest = total - sum(caps[name] for name in caps if name not in shared)
        unit = Fraction(rest, sum(weights[name] for name in shared))
        full = {name for name in shared if unit * weights[name] >= caps[name]}
        if not full:
            exact |= {name: unit * weights[name] for name in shared}
            break
        shared -= full
    shares = {name: int(value) for name, value in exact.items()}
    # sorted() is stable: among equal remainders the earlier name comes first.
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def _counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.count_nonzero()) for name, mask in masks.items()}
