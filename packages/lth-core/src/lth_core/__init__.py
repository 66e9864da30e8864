"""lth: lottery tickets. Exact masks, iterative magnitude pruning, rewinding.

This bottom floor needs torch, numpy and safetensors only; :mod:`lth_core.openmmlab` puts it into
mmengine's trainings. Names are imported when they are first used, so that ``lth --help`` does not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lth_core import allocation, analysis, criteria, variants
    from lth_core.attaching import Link, attach
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
    "analysis",
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

_MODULES = {
    "IMPSettings": "imp",
    "LTHError": "errors",
    "Link": "attaching",
    "MaskSet": "masks",
    "Ticket": "ticket",
    "attach": "attaching",
    "count": "counts",
    "load_backbone": "weights",
    "prunable": "scope",
    "prune": "pruning",
    "run_imp": "imp",
    "sparsity_after": "pruning",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"lth_core.{_MODULES.get(name, name)}")
    found = globals()[name] = getattr(module, name) if name in _MODULES else module
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
