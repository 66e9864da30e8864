"""What masks look like: similarity, zero kernels, dead channels, weights, connectivity.

Works on masks and state dicts alone; nothing here knows of OpenMMLab.
"""

from lth_core.analysis.connectivity import Connectivity, connectivity, interpolate
from lth_core.analysis.kernels import (
    DeadChannels,
    KernelCount,
    collapsed_layers,
    dead_channels,
    kernel_counts,
    kernel_counts_by_stage,
    kernel_map,
    network_order,
    stage_of,
)
from lth_core.analysis.similarity import (
    Similarity,
    expected_by_chance,
    require_one_scope,
    similarity,
    similarity_curves,
    similarity_matrix,
)
from lth_core.analysis.weights import Distribution, magnitudes, natural_sparsity

__all__ = [
    "Connectivity",
    "DeadChannels",
    "Distribution",
    "KernelCount",
    "Similarity",
    "collapsed_layers",
    "connectivity",
    "dead_channels",
    "expected_by_chance",
    "interpolate",
    "kernel_counts",
    "kernel_counts_by_stage",
    "kernel_map",
    "magnitudes",
    "natural_sparsity",
    "network_order",
    "require_one_scope",
    "similarity",
    "similarity_curves",
    "similarity_matrix",
    "stage_of",
]
