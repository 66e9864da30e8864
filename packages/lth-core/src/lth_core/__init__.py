"""lth: lottery tickets. Exact masks, iterative magnitude pruning, rewinding.

This bottom floor needs torch, numpy and safetensors only; :mod:`lth_core.openmmlab` puts it into
mmengine's trainings.
"""

from lth_core import allocation, criteria, variants
from lth_core.attach import Link, attach
from lth_core.counts import count
from lth_core.errors import LTHError
from lth_core.imp import IMPSettings, run_imp
from lth_core.masks import MaskSet
from lth_core.pruning import prune, sparsity_after
from lth_core.scope import prunable
from lth_core.ticket import Ticket
from lth_core.weights import load_backbone

__version__ = "0.1.0"

__all__ = [
    "IMPSettings",
    "LTHError",
    "Link",
    "MaskSet",
    "Ticket",
    "allocation",
    "attach",
    "count",
    "criteria",
    "load_backbone",
    "prunable",
    "prune",
    "run_imp",
    "sparsity_after",
    "variants",
]
