"""Masks derived from another mask: the controls beside a ticket (paper A, Fig. 8)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lth_core.errors import ConfigError
from lth_core.masks import MaskSet

Generator = torch.Generator


def complement(masks: MaskSet) -> MaskSet:
    """Keeps exactly what ``masks`` prunes (paper A: m^c). Its density is 1 minus that of masks."""
    return ~masks


def random(
    masks: MaskSet,
    match: Literal["global", "layer"] = "global",
    generator: Generator | None = None,
) -> MaskSet:
    """As many weights as ``masks`` keeps, chosen at random.

    Args:
        masks: The mask to match.
        match: ``"global"``: uniform over all weights in scope, so that only the total matches
            (paper A's random pruning); ``"layer"``: every layer keeps its own count.
        generator: Source of randomness; torch's default one if None.

    Returns:
        Masks with exactly the same ``kept`` (and, with ``"layer"``, per layer).

    Raises:
        ConfigError: If ``match`` is neither.
    """
    if match == "layer":
        return MaskSet({name: _permute(masks[name], generator) for name in masks})
    if match != "global":
        raise ConfigError(f"variants.random: match is {match!r}; use 'global' or 'layer'")
    flat = torch.cat([mask.reshape(-1).cpu() for mask in masks.values()])
    parts = _permute(flat, generator).split([mask.numel() for mask in masks.values()])
    return MaskSet(
        {name: part.reshape(masks[name].shape) for name, part in zip(masks, parts, strict=True)}
    )


def perturb(masks: MaskSet, fraction: float = 0.1, generator: Generator | None = None) -> MaskSet:
    """Flips ``fraction`` of the ones and ``fraction`` of the zeros (paper A: m + Δm).

    Density is *not* kept: at 1.8 % remaining, 10 % of flips leave 11.4 %.

    Args:
        masks: The mask to perturb.
        fraction: Share of entries to flip, of each kind, counted over all layers and rounded half
            to even; in [0, 1].
        generator: Source of randomness; torch's default one if None.

    Raises:
        ConfigError: If ``fraction`` is out of range.
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"variants.perturb: fraction is {fraction}; it must lie between 0 and 1")
    flat = torch.cat([mask.reshape(-1).cpu() for mask in masks.values()])
    flipped = flat.clone()
    for value in (True, False):
        positions = (flat == value).nonzero().reshape(-1)
        chosen = torch.randperm(positions.numel(), generator=generator)
        flipped[positions[chosen[: round(fraction * positions.numel())]]] = not value
    parts = flipped.split([mask.numel() for mask in masks.values()])
    return MaskSet(
        {name: part.reshape(masks[name].shape) for name, part in zip(masks, parts, strict=True)}
    )


def _permute(mask: Tensor, generator: Generator | None) -> Tensor:
    order = torch.randperm(mask.numel(), generator=generator)
    return mask.reshape(-1).cpu()[order].reshape(mask.shape)
