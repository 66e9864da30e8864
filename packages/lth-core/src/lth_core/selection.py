"""The k-th smallest of many scores, without a copy of them all.

A prune ranks tens of millions of scores. Sorting or selecting over their concatenation takes about
as long as a training step and several times the weights' memory. Here a sample brackets the answer,
one pass counts what lies below the bracket and takes out what lies inside, and only that is ranked
(Floyd and Rivest's SELECT). The result is exact whatever the sample looks like.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_CHUNK = 1 << 18
"""Elements looked at together: small enough for the processor's cache, and for memory."""

_SAMPLE = 1 << 16


def kth_smallest(scores: Sequence[Tensor], masks: Sequence[Tensor], k: int) -> tuple[Tensor, int]:
    """The k-th smallest of the scores that are kept.

    Args:
        scores: Floating-point tensors, finite where they are kept.
        masks: Boolean tensors of the same shapes and devices; False = not ranked.
        k: Rank, from 1 to the number of kept scores.

    Returns:
        The value (0-d), and how many of the scores equal to it are among the k smallest.
    """
    total = sum(int(mask.count_nonzero()) for mask in masks)
    low, high = _bracket(scores, masks, k / total)
    below = 0
    inside: list[Tensor] = []
    for score, mask in _chunks(scores, masks):
        if low is not None:
            below += int(((score < low) & mask).count_nonzero())
            mask = mask & (score >= low)
        if high is not None:
            mask = mask & (score <= high)
        inside.append(score[mask])
    candidates = torch.cat(inside)
    if not below < k <= below + candidates.numel():  # the sample misled: rank everything
        candidates, below = torch.cat([s[m] for s, m in _chunks(scores, masks)]), 0
    value = candidates.kthvalue(k - below).values
    return value, k - below - int((candidates < value).count_nonzero())


def _bracket(
    scores: Sequence[Tensor], masks: Sequence[Tensor], quantile: float
) -> tuple[Tensor | None, Tensor | None]:
    """Two scores between which the quantile almost certainly lies; None for an open end."""
    stride = max(1, sum(score.numel() for score in scores) // _SAMPLE)
    # One stride for all, so that every layer is represented by its size; odd, so that it does not
    # fall in step with the powers of two that layers are made of.
    stride |= 1
    sample = torch.cat(
        [
            s.reshape(-1)[::stride][m.reshape(-1)[::stride]]
            for s, m in zip(scores, masks, strict=True)
        ]
    )
    count = sample.numel()
    margin = int(4 * count**0.5) + 1
    rank = int(quantile * count)
    ordered = sample.sort().values
    low = ordered[rank - margin] if rank - margin >= 0 else None
    high = ordered[rank + margin] if rank + margin < count else None
    return low, high


def _chunks(scores: Sequence[Tensor], masks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of all scores, in the widest of their dtypes, with their masks."""
    dtype = functools.reduce(torch.promote_types, (score.dtype for score in scores))
    for score, mask in zip(scores, masks, strict=True):
        parts = zip(score.reshape(-1).split(_CHUNK), mask.reshape(-1).split(_CHUNK), strict=True)
        yield from ((part.to(dtype), kept) for part, kept in parts)
