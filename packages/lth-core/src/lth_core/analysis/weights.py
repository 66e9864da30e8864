"""What training does to weights by itself: their distribution, and how many come to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lth_core.errors import MaskError
from lth_core.masks import MaskSet
from lth_core.scope import describe_misfit, find_prefixes
from lth_core.variants import nonzero


@dataclass(frozen=True)
class Distribution:
    """A histogram of magnitudes on a logarithmic scale.

    Attributes:
        edges: Of the bins, ascending, float64; one more than there are bins.
        counts: Weights in each bin, int64.
        below: Weights smaller than the first edge, zeros among them.
    """

    edges: np.ndarray
    counts: np.ndarray
    below: int


def natural_sparsity(
    weights: Mapping[str, Tensor], masks: MaskSet, threshold: float | None = None
) -> tuple[float, dict[str, float]]:
    """Fraction of the weights that training itself has brought to zero (paper B, Fig. 6).

    Args:
        weights: Of the trained dense network, by the masks' names, with a prefix or without.
        masks: Names and shapes in scope; what they keep does not matter.
        threshold: Magnitudes up to this count as zero; the machine epsilon of each weight's dtype
            if None (the paper's "machine precision").

    Returns:
        Of all together, and of each weight by name.

    Raises:
        MaskError: If the masks do not fit the weights.
    """
    alive = nonzero(weights, masks, threshold)
    return alive.sparsity, alive.layer_sparsity()


def paper_scope(weights: Mapping[str, Tensor]) -> MaskSet:
    """All weights of a trained network that paper B's Fig. 6 counts, as masks that keep them all.

    Those are all weights of convolutions and linear layers but the last linear one: norms and
    biases are left out, and so is the classifier.

    Args:
        weights: A model's tensors, in the model's order.
    """
    found = {
        name: torch.ones(weight.shape, dtype=torch.bool)
        for name, weight in weights.items()
        if weight.dim() >= 2 and weight.is_floating_point()
    }
    linear = [name for name in found if found[name].dim() == 2]
    return MaskSet({name: mask for name, mask in found.items() if name not in linear[-1:]})


def sorted_magnitudes(
    weights: Mapping[str, Tensor], masks: MaskSet, points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """The kept weights' magnitudes in ascending order (paper B, Fig. 6), at evenly spaced ranks.

    Args:
        weights: A model's tensors, by the masks' names, with a prefix or without.
        masks: Which of them, and which of their weights.
        points: How many ranks, the first and the last included.

    Returns:
        The share of weights up to each rank, from 0 to 1, and the magnitude there; float64, of
        length ``points``, or empty if nothing is kept.

    Raises:
        MaskError: If the masks do not fit the weights.
    """
    values = np.sort(_kept(weights, masks))
    if not len(values):
        return np.zeros(0), np.zeros(0)
    shares = np.linspace(0, 1, points)
    return shares, values[np.round(shares * (len(values) - 1)).astype(np.int64)]


def magnitudes(
    weights: Mapping[str, Tensor],
    masks: MaskSet,
    bins: int = 60,
    low: float = 1e-12,
    high: float = 10.0,
) -> Distribution:
    """How the magnitudes of the kept weights are distributed.

    Args:
        weights: A model's tensors, by the masks' names, with a prefix or without.
        masks: Which of them, and which of their weights.
        bins: Of equal width on a logarithmic scale.
        low: The first edge.
        high: The last; what is larger is counted in the last bin.

    Raises:
        MaskError: If the masks do not fit the weights.
    """
    values = _kept(weights, masks)
    edges = np.geomspace(low, high, bins + 1)
    inside = np.clip(values[values >= low], None, high)
    counts, _ = np.histogram(inside, edges)
    return Distribution(edges, counts, int((values < low).sum()))


def _kept(weights: Mapping[str, Tensor], masks: MaskSet) -> np.ndarray:
    """Magnitudes of the kept weights, float64."""
    prefixes = find_prefixes(masks, weights)
    if not prefixes:
        raise MaskError(f"the masks do not fit the weights: {describe_misfit(masks, weights)}")
    kept = [weights[prefixes[0] + n].detach().cpu()[mask.cpu()] for n, mask in masks.items()]
    return torch.cat([each.abs().double() for each in kept] or [torch.zeros(0)]).numpy()
