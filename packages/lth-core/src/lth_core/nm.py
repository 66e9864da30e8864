"""N:M structure: of every M neighbouring weights at most N are kept (2:4 on NVIDIA's hardware).

Neighbours are along the input channels: a weight ``(out, in, *kernel)`` is seen as ``(out, *kernel,
in)`` in C order and cut into groups of M. For a linear layer those are the groups of torch's
``to_sparse_semi_structured`` (cuSPARSELt, CUTLASS). For a convolution they are the groups of the
matrix ``weight.permute(0, 2, 3, 1).reshape(out, -1)`` by which kernels for NHWC (channels last)
multiply, and those of NVIDIA's own tool (apex ASP).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lth_core.errors import ConfigError, MaskError
from lth_core.masks import MaskSet
from lth_core.scope import join_some


@dataclass(frozen=True)
class Pattern:
    """At most ``keep`` of every ``group`` neighbours.

    Raises:
        ConfigError: If not 0 < keep < group.
    """

    keep: int
    group: int

    def __post_init__(self) -> None:
        if not 0 < self.keep < self.group:
            raise ConfigError(
                f"structure {self.keep}:{self.group} keeps nothing or everything; use 2:4, say"
            )

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Reads ``"2:4"``.

        Raises:
            ConfigError: If ``text`` is no such pattern.
        """
        match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", str(text))
        if match is None:
            raise ConfigError(f"unknown structure {text!r}; write N:M, for example '2:4'")
        return cls(int(match[1]), int(match[2]))

    def require_fit(self, masks: Mapping[str, Tensor]) -> None:
        """Checks that groups come out even.

        Raises:
            MaskError: If a weight has no input channels, or their number is no multiple of the
                group. Hardware cannot use such a layer, and leaving it dense unasked would be a
                silent exception to what was ordered.
        """
        misfits = [
            f"{name} has {mask.shape[1] if mask.dim() > 1 else 'no'} input channels"
            for name, mask in masks.items()
            if mask.dim() < 2 or mask.shape[1] % self.group
        ]
        if misfits:
            raise MaskError(
                f"structure {self.keep}:{self.group} needs input channels in multiples of "
                f"{self.group}: {join_some(misfits)}; take such weights out of the masks"
            )

    def groups(self, tensor: Tensor) -> Tensor:
        """The weight ``(out, in, *kernel)`` as ``(number of groups, group)``."""
        return tensor.movedim(1, -1).reshape(-1, self.group)

    def ungroup(self, groups: Tensor, shape: torch.Size) -> Tensor:
        """Inverse of :meth:`groups`, contiguous."""
        moved = (shape[0], *shape[2:], shape[1])
        return groups.reshape(moved).movedim(-1, 1).contiguous()


def follows(masks: MaskSet, structure: str = "2:4") -> bool:
    """Whether no group keeps more than the structure allows.

    Raises:
        ConfigError: If ``structure`` is no pattern.
        MaskError: If it does not fit the weights' shapes.
    """
    pattern = Pattern.parse(structure)
    pattern.require_fit(masks)
    return all(bool((pattern.groups(mask).sum(1) <= pattern.keep).all()) for mask in masks.values())


def keep_largest(scores: Mapping[str, Tensor], masks: MaskSet, pattern: Pattern) -> MaskSet:
    """Keeps, of the kept weights of every group, those with the highest scores.

    Args:
        scores: Finite where kept; names and shapes as in ``masks``.
        masks: What is kept so far.
        pattern: How many to keep, of how many.

    Returns:
        Subsets of ``masks``. Of equal scores the first positions go first.
    """
    result = {}
    for name, mask in masks.items():
        kept = pattern.groups(mask.to(scores[name].device))
        ranked = pattern.groups(scores[name]).masked_fill(~kept, -torch.inf)
        order = ranked.argsort(dim=1, stable=True)[:, pattern.group - pattern.keep :]
        chosen = torch.zeros_like(kept).scatter_(1, order, True) & kept
        result[name] = pattern.ungroup(chosen, mask.shape).to(mask.device)
    return MaskSet(result)
