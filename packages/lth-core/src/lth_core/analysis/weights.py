"""What training does to weights by itself: their distribution, and how many come to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lth_core.masks import MaskSet
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


def magnitudes(
    weights: Mapping[str, Tensor],
    masks: MaskSet,
    bins: int = 60,
    low: float = 1e-12,
    high: float = 10.0,
) -> Distribution:
    """How the magnitudes of the kept weights are distributed.

    Args:
        weights: A model's tensors.
        masks: Which of them, and which of their weights.
        bins: Of equal width on a logarithmic scale.
        low: The first edge.
        high: The last; what is larger is counted in the last bin.
    """
    kept = torch.cat([weights[name].detach().cpu()[mask.cpu()] for name, mask in masks.items()])
    values = kept.abs().double().numpy()
    edges = np.geomspace(low, high, bins + 1)
    inside = np.clip(values[values >= low], None, high)
    counts, _ = np.histogram(inside, edges)
    return Distribution(edges, counts, int((values < low).sum()))
