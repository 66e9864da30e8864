"""Where in a network masks leave nothing: kernels, channels, layers.

A *kernel* is the slice of a convolution's weight between one input and one output channel
(paper A, Figs. 6 and 7). Of a 1 x 1 convolution it is a single weight, so counts of zero kernels
say most of the larger ones; both are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lth_core.masks import MaskSet
from lth_core.scope import network_order


@dataclass(frozen=True)
class KernelCount:
    """Kernels of a layer or of several.

    Attributes:
        kernels: Their number.
        zero: Those of which nothing is kept.
        spatial: Those of more than one weight.
        zero_spatial: Those of them of which nothing is kept.
    """

    kernels: int = 0
    zero: int = 0
    spatial: int = 0
    zero_spatial: int = 0

    def __add__(self, other: KernelCount) -> KernelCount:
        return KernelCount(
            self.kernels + other.kernels,
            self.zero + other.zero,
            self.spatial + other.spatial,
            self.zero_spatial + other.zero_spatial,
        )


@dataclass(frozen=True)
class DeadChannels:
    """Channels of one layer that its mask cuts off.

    Attributes:
        outputs: Number of output channels.
        dead_outputs: Those that depend on no input any more: they are constant.
        inputs: Number of input channels, of all groups together.
        dead_inputs: Those that no output looks at any more.
    """

    outputs: int
    dead_outputs: int
    inputs: int
    dead_inputs: int


def stage_of(name: str) -> str:
    """The part of the backbone that a weight belongs to: ``layer1.0.conv1.weight`` -> ``layer1``.

    ``stages.0``, ``blocks.3`` and ``features.4`` keep their number, since the word says nothing.
    """
    first, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return f"{first}.{number}" if number.isdigit() and not first[-1].isdigit() else first


def kernel_counts(masks: MaskSet) -> dict[str, KernelCount]:
    """Zero kernels of every convolution, by name in the network's order; linear layers left out."""
    return {
        name: _count(_kept_per_kernel(masks[name]), masks[name][0, 0].numel())
        for name in network_order(masks)
        if masks[name].dim() > 2
    }


def kernel_counts_by_stage(masks: MaskSet) -> dict[str, KernelCount]:
    """The same, added up over the stages of the backbone."""
    stages: dict[str, KernelCount] = {}
    for name, count in kernel_counts(masks).items():
        stage = stage_of(name)
        stages[stage] = stages.get(stage, KernelCount()) + count
    return stages


def kept_by_layer(masks: MaskSet) -> dict[str, tuple[int, int]]:
    """Weights kept and in scope, of every layer by name in the network's order."""
    return {
        name: (int(masks[name].count_nonzero()), masks[name].numel())
        for name in network_order(masks)
    }


def kept_by_stage(layers: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """What :func:`kept_by_layer` has found, added up over the stages of the backbone."""
    stages: dict[str, tuple[int, int]] = {}
    for name, (kept, total) in layers.items():
        before = stages.get(stage_of(name), (0, 0))
        stages[stage_of(name)] = (before[0] + kept, before[1] + total)
    return stages


def kernel_map(
    masks: MaskSet, columns: int, spatial: bool = False
) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """All kernels in the network's order as a picture (paper A, Fig. 7).

    Args:
        masks: Of a backbone.
        columns: Width of the picture, in kernels.
        spatial: Whether kernels of a single weight are left out.

    Returns:
        Fraction kept of every kernel, from input to output in rows of ``columns``, float32, NaN
        after the last; and where each stage begins, as ``(stage, row)``.
    """
    fractions = [np.zeros(0, np.float32)]
    starts: list[tuple[str, int]] = []
    seen = 0
    for name in network_order(masks):
        mask = masks[name]
        if mask.dim() <= 2 or (spatial and mask[0, 0].numel() == 1):
            continue
        stage = stage_of(name)
        if not starts or starts[-1][0] != stage:
            starts.append((stage, seen // columns))
        kept = _kept_per_kernel(mask).flatten() / mask[0, 0].numel()
        fractions.append(kept.numpy().astype(np.float32))
        seen += kept.numel()
    rows = -(-seen // columns)
    picture = np.full(rows * columns, np.nan, np.float32)
    picture[:seen] = np.concatenate(fractions)
    return picture.reshape(rows, columns), starts


def dead_channels(masks: MaskSet) -> dict[str, DeadChannels]:
    """Channels that the mask of each layer alone cuts off, by name in the network's order.

    What follows from it in other layers (a constant channel's readers, residual sums) is not part
    of this count.
    """
    found = {}
    for name in network_order(masks):
        kept = masks[name] if masks[name].dim() == 2 else _kept_per_kernel(masks[name]) > 0
        alive_out, alive_in = kept.any(1), kept.any(0)
        found[name] = DeadChannels(
            len(alive_out),
            int((~alive_out).sum()),
            len(alive_in),
            int((~alive_in).sum()),
        )
    return found


def collapsed_layers(masks: MaskSet) -> list[str]:
    """Layers of which nothing is kept, in the network's order.

    Nothing passes such a layer but its bias: without a way around it the network no longer sees
    its input, whatever sparsity it has elsewhere.
    """
    return [name for name in network_order(masks) if not bool(masks[name].any())]


def _kept_per_kernel(mask: Tensor) -> Tensor:
    """Number of kept weights of every kernel: int64, output channels x input channels."""
    return mask.flatten(2).sum(2)


def _count(kept: Tensor, size: int) -> KernelCount:
    number, zero = kept.numel(), int((kept == 0).sum())
    return KernelCount(number, zero, *((number, zero) if size > 1 else (0, 0)))
