"""One prune: scores × allocation -> an exact mask."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lth_core.allocation import get_allocation
from lth_core.errors import MaskError
from lth_core.masks import MaskSet
from lth_core.scope import describe_misfit, find_prefixes, locate, unwrap
from lth_core.scores import get_criterion
from lth_core.selection import kth_smallest


def prune(
    model: nn.Module | Mapping[str, Tensor],
    masks: MaskSet,
    amount: float = 0.2,
    criterion: str = "magnitude",
    allocation: str = "global",
    generator: torch.Generator | None = None,
) -> MaskSet:
    """Removes ``round(amount * kept)`` of the remaining weights, the lowest scores first.

    Rounding is half to even, as ``torch.nn.utils.prune`` does it; ties go by position in sorted
    order of names, so the counts are exact and the result does not depend on the device.

    Args:
        model: The trained model, or its weights by name. Not changed.
        masks: The current masks, named as in ``model`` or relative to its backbone.
        amount: Fraction of the *remaining* weights to remove, in [0, 1].
        criterion: Name of a score: ``"magnitude"``, ``"random"``.
        allocation: How removals spread over layers: ``"global"``, ``"uniform"``.
        generator: Source of randomness for criteria that need one.

    Returns:
        New masks, each a subset of the old.

    Raises:
        MaskError: If ``amount`` is out of range, the masks do not fit ``model``, or a weight that
            is still kept is not finite.
        ConfigError: If the criterion or allocation is unknown.
    """
    if not 0 <= amount <= 1:
        raise MaskError(f"prune: amount is {amount}; it must lie between 0 and 1")
    score, allocate = get_criterion(criterion), get_allocation(allocation)
    weights = _weights_of(model, masks)
    scores = score(weights, generator)
    pruned = dict(masks)
    for names, count in allocate(masks, amount):
        if count:
            pruned |= _remove_lowest(scores, pruned, names, count)
    return MaskSet(pruned)


def sparsity_after(rounds: int, amount: float = 0.2) -> float:
    """Nominal sparsity of level ``rounds``: ``1 - (1 - amount) ** rounds``."""
    return 1 - math.pow(1 - amount, rounds)


def _weights_of(model: nn.Module | Mapping[str, Tensor], masks: MaskSet) -> dict[str, Tensor]:
    if isinstance(model, nn.Module):
        named: Mapping[str, Tensor] = dict(unwrap(model).named_parameters())
        prefix = locate(model, masks)[0]
    else:
        named = model
        prefixes = find_prefixes(masks, named)
        if not prefixes:
            raise MaskError(f"prune: the masks do not fit: {describe_misfit(masks, named)}")
        prefix = prefixes[0]
    return {name: named[prefix + name].detach() for name in masks}


def _remove_lowest(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], names: list[str], count: int
) -> dict[str, Tensor]:
    """``masks[names]`` without the ``count`` kept entries of the lowest scores, as new masks."""
    kept = [masks[name].to(scores[name].device) for name in names]
    for name, mask in zip(names, kept, strict=True):
        if not bool(torch.isfinite(scores[name]).all() or torch.isfinite(scores[name][mask]).all()):
            raise MaskError(
                f"prune: {name} holds NaN or infinity, so its weights cannot be ranked; "
                "training has diverged, lower its learning rate"
            )
    threshold, ties = kth_smallest([scores[name] for name in names], kept, count)
    remaining: dict[str, Tensor] = {}
    for name, mask in zip(names, kept, strict=True):
        score = scores[name].to(threshold.dtype)
        tied = ((score == threshold) & mask).reshape(-1).nonzero().reshape(-1)
        left = (mask & (score > threshold)).contiguous()
        left.view(-1)[tied[ties:]] = True
        ties -= min(ties, tied.numel())
        remaining[name] = left.to(masks[name].device)
    return remaining
