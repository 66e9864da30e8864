"""One prune: scores × allocation -> an exact mask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lth_core.allocation import Allocation, get_allocation
from lth_core.errors import ConfigError, MaskError
from lth_core.masks import MaskSet
from lth_core.nm import Pattern, keep_largest
from lth_core.scope import describe_misfit, find_prefixes, locate, unwrap
from lth_core.scores import Criterion, Subject, get_criterion
from lth_core.selection import kth_smallest
from lth_core.sharding import full, parameters_of


def prune(
    model: nn.Module | Mapping[str, Tensor],
    masks: MaskSet,
    amount: float = 0.2,
    criterion: str | Criterion = "magnitude",
    allocation: str | Allocation = "global",
    generator: torch.Generator | None = None,
    structure: str | None = None,
) -> MaskSet:
    """Removes ``round(amount * kept)`` of the remaining weights, the lowest scores first.

    Rounding is half to even, as ``torch.nn.utils.prune`` does it; ties go by position in sorted
    order of names, so the counts are exact and the result does not depend on the device.

    Args:
        model: The trained model, or its weights by name. Not changed.
        masks: The current masks, named as in ``model`` or relative to its backbone.
        amount: Fraction of the *remaining* weights to remove, in [0, 1].
        criterion: Name of a score: ``"magnitude"``, ``"random"``, ``"synflow"``; or one that was
            made with its data, as ``lth.criteria.SNIP(batches, loss)``.
        allocation: How removals spread over layers: ``"global"``, ``"uniform"``, ``"erk"``, or
            ``lth.allocation.AsIn(other_masks)``, which sets the counts itself, whatever the amount.
        generator: Source of randomness for criteria that need one.
        structure: ``"2:4"`` keeps the two highest scores of every four neighbours along the input
            channels (:mod:`lth_core.nm`). It sets the counts itself: ``amount`` plays no part and
            the allocation must be left alone. Scores are taken once.

    Returns:
        New masks, each a subset of the old.

    Raises:
        MaskError: If ``amount`` is out of range, the masks do not fit ``model``, or the score of a
            weight that is still kept is not finite; from structures and allocations, if they
            cannot be had.
        ConfigError: If the criterion, allocation or structure is unknown, or lacks what it needs.
    """
    if not 0 <= amount <= 1:
        raise MaskError(f"prune: amount is {amount}; it must lie between 0 and 1")
    rank, allocate = get_criterion(criterion), get_allocation(allocation)
    subject = _subject(model, masks)
    if structure is not None:
        return _prune_to(structure, subject, masks, rank, allocation, generator)
    groups = allocate(masks, amount)
    kept = [sum(int(masks[name].count_nonzero()) for name in names) for names, _ in groups]
    pruned = dict(masks)
    for step in range(1, rank.steps + 1):
        now = [
            _removed(size, count, step / rank.steps)
            - _removed(size, count, (step - 1) / rank.steps)
            for size, (_, count) in zip(kept, groups, strict=True)
        ]
        if not any(now):
            continue
        scores = rank.scores(replace(subject, masks=pruned), generator)
        for (names, _), count in zip(groups, now, strict=True):
            if count:
                _require_finite(scores, subject.weights, pruned, names)
                pruned |= remove_lowest(scores, pruned, names, count)
    return MaskSet(pruned)


def sparsity_after(rounds: int, amount: float = 0.2) -> float:
    """Nominal sparsity of level ``rounds``: ``1 - (1 - amount) ** rounds``."""
    return 1 - math.pow(1 - amount, rounds)


def _subject(model: nn.Module | Mapping[str, Tensor], masks: MaskSet) -> Subject:
    module: nn.Module | None = None
    if isinstance(model, nn.Module):
        module = unwrap(model)
        named: Mapping[str, Tensor] = parameters_of(module)
        prefix = locate(model, masks)[0]
    else:
        named = model
        prefixes = find_prefixes(masks, named)
        if not prefixes:
            raise MaskError(f"prune: the masks do not fit: {describe_misfit(masks, named)}")
        prefix = prefixes[0]
    # Of a weight that is spread over processes each ranks the whole, and so finds the same mask.
    weights = {n: full(named[prefix + n].detach()) for n in masks}
    return Subject(weights, masks, module, prefix)


def _prune_to(
    structure: str,
    subject: Subject,
    masks: MaskSet,
    rank: Criterion,
    allocation: str | Allocation,
    generator: torch.Generator | None,
) -> MaskSet:
    pattern = Pattern.parse(structure)
    if allocation != "global":
        raise ConfigError(
            f"prune: structure {structure} decides what each layer keeps; leave the allocation out"
        )
    pattern.require_fit(masks)
    scores = rank.scores(subject, generator)
    _require_finite(scores, subject.weights, masks, list(masks))
    return keep_largest(scores, masks, pattern)


def _removed(kept: int, count: int, progress: float) -> int:
    """How many of the ``count`` are removed at ``progress``, from 0 to 1, of the schedule."""
    if not count or progress in (0, 1):
        return round(count * progress)
    return kept - round(kept * math.pow(1 - count / kept, progress))


def _require_finite(
    scores: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    names: list[str],
) -> None:
    for name in names:
        score, mask = scores[name], masks[name].to(scores[name].device)
        if bool(torch.isfinite(score).all() or torch.isfinite(score[mask]).all()):
            continue
        if bool(torch.isfinite(weights[name].to(mask.device)[mask]).all()):
            raise MaskError(
                f"prune: the scores of {name} hold NaN or infinity, so its weights cannot be "
                "ranked; its weights are finite, so the data, the loss or the number range of "
                "their dtype is at fault"
            )
        raise MaskError(
            f"prune: {name} holds NaN or infinity, so its weights cannot be ranked; "
            "training has diverged, lower its learning rate"
        )


def remove_lowest(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], names: list[str], count: int
) -> dict[str, Tensor]:
    """``masks[names]`` without the ``count`` kept entries of the lowest scores, as new masks.

    Args:
        scores: By name, finite where they are kept.
        masks: By name, of the same shapes.
        names: Which compete with each other; among equal scores the earlier are removed.
        count: At least 1.
    """
    kept = [masks[name].to(scores[name].device) for name in names]
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
