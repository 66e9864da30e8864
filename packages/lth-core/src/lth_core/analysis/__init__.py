"""What masks look like: similarity, zero kernels, dead channels, weights, connectivity.

Works on masks and state dicts alone; nothing here knows of OpenMMLab.
"""

from lth_core.analysis.connectivity import Connectivity, connectivity, interpolate
from lth_core.analysis.kernels import (
    DeadChannels,
    KernelCount,
    collapsed_layers,
    dead_channels,
    kept_by_layer,
    kept_by_stage,
    kernel_counts,
    kernel_counts_by_stage,
    kernel_map,
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
from lth_core.analysis.weights import (
    Distribution,
    magnitudes,
    natural_sparsity,
    paper_scope,
    sorted_magnitudes,
)
from lth_core.scope import network_order

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
    "kept_by_layer",
    "kept_by_stage",
    "kernel_counts",
    "kernel_counts_by_stage",
    "kernel_map",
    "magnitudes",
    "natural_sparsity",
    "network_order",
    "paper_scope",
    "require_one_scope",
    "similarity",
    "similarity_curves",
    "similarity_matrix",
    "sorted_magnitudes",
    "stage_of",
]
