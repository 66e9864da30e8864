"""From a sparse model to a smaller dense one, checked, with a report."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lth_core.compaction.cutting import SIZED, cut, needed
from lth_core.compaction.tracing import Forward, trace
from lth_core.counts import Count, Counts, count
from lth_core.errors import ExactnessError
from lth_core.scope import unwrap

TOLERANCE = 1e-4
"""Of the largest number in an output: well above what rounding of float32 does in deep models."""


@dataclass(frozen=True)
class Change:
    """What compaction made of a layer.

    Attributes:
        inputs: Channels that it reads, before and after.
        outputs: Channels that it writes.
        params: Its parameters.
        flops: Of one pass.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    params: tuple[int, int]
    flops: tuple[int, int]


@dataclass(frozen=True)
class Compacted:
    """A smaller model that computes the same.

    Attributes:
        model: In evaluation mode.
        before: Parameters and FLOPs of the model as it was.
        after: The same of ``model``.
        layers: By name, the convolutions, linear layers and norms that lost channels.
        error: The largest difference of an output, as a share of its largest number.
    """

    model: nn.Module
    before: Counts
    after: Counts
    layers: dict[str, Change]
    error: float


def compact(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    forward: Forward | None = None,
    tolerance: float = TOLERANCE,
) -> Compacted:
    """Removes channels that carry nothing, so that outputs stay the same but for rounding.

    Args:
        model: Any model that :func:`torch.export.export` can trace, its weights sparse: pruned
            ones are exactly zero. Not changed.
        inputs: Of one pass; outputs are compared on them, so let them be random.
        forward: What to call with the model and the inputs in place of the model itself, for
            example ``lambda model, x: model.extract_feat(x)``. What it does not reach stays.
        tolerance: The largest difference of an output, as a share of its largest number.

    Returns:
        The smaller model, and a report. If nothing can be removed it is a copy.

    Raises:
        ConfigError: If the pass cannot be traced.
        ExactnessError: If outputs differ by more than ``tolerance``.
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    call: Forward = forward or (lambda module, *given: module(*given))
    original = copy.deepcopy(unwrap(model)).eval()
    small = copy.deepcopy(original)
    found = trace(original, arguments, call)
    cut(found, needed(found), small)
    with torch.no_grad():
        wanted = list(tensors(call(original, *arguments)))
        try:
            got = list(tensors(call(small, *arguments)))
        except RuntimeError as problem:
            raise ExactnessError(
                f"{type(original).__name__} does not run with fewer channels: "
                f"{str(problem).splitlines()[0]}; its code counts on a number of channels"
            ) from problem
    error = largest_error(got, wanted)
    if not error <= tolerance:
        raise ExactnessError(
            f"compacted {type(original).__name__} differs by {error:.2g} of its largest output, "
            f"more than {tolerance:.2g}: float32 is too coarse for these weights, or this is an "
            "error in lth; do not use the result"
        )
    before, after = (
        count(each, None, arguments, lambda *given, each=each: call(each, *given))
        for each in (original, small)
    )
    return Compacted(small, before, after, _changes(original, small, before, after), error)


def largest_error(got: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number of the output that it is in.

    Infinite if shapes differ or a number is not finite.
    """
    if [each.shape for each in got] != [each.shape for each in wanted]:
        return float("inf")
    worst = 0.0
    for pair in zip(got, wanted, strict=True):
        one, other = (each.detach().double() for each in pair)
        if not other.numel():
            continue
        scale = float(other.abs().max()) or 1.0
        error = float((one - other).abs().max()) / scale
        worst = max(worst, error if error == error else float("inf"))
    return worst


def tensors(found: Any) -> Iterator[Tensor]:
    """All tensors in what a model gave out, in order."""
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, dict):
        for each in found.values():
            yield from tensors(each)
    elif isinstance(found, (list, tuple)):
        for each in found:
            yield from tensors(each)


def _changes(
    original: nn.Module, small: nn.Module, before: Counts, after: Counts
) -> dict[str, Change]:
    changes = {}
    for name, module in original.named_modules():
        other = small.get_submodule(name)
        if isinstance(module, SIZED) and _widths(module) != _widths(other):
            one, two = (counts.modules.get(name, Count()) for counts in (before, after))
            inputs, outputs = zip(_widths(module), _widths(other), strict=True)
            flops = (one.flops, two.flops)
            changes[name] = Change(inputs, outputs, (one.params, two.params), flops)
    return changes


def _widths(module: Any) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if hasattr(module, "num_features"):
        return module.num_features, module.num_features
    return module.in_channels, module.out_channels
