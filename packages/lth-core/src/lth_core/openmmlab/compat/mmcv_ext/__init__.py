"""The compiled half of mmcv, supplied from torchvision and plain PyTorch.

``mmcv-lite`` carries the Python half of ``mmcv.ops`` but not the extension ``mmcv._ext`` which
``import mmcv.ops`` asks for, and building that extension takes a compiler and a long time. After
:func:`install`, mmdet, mmseg and mmpretrain import, train and test without it. An operator
without a counterpart here raises :class:`MissingOpError` when it is called, never earlier.

``docs/benchmarks/mmcv-ops.md`` has their results and speed beside those of a compiled mmcv.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn, ParamSpec, TypeVar

import torch

from lth_core.errors import LTHError
from lth_core.openmmlab.compat.mmcv_ext import (
    bbox,
    carafe,
    deform_conv,
    deform_roi_pool,
    focal_loss,
    info,
    masked_conv,
    ms_deform_attn,
    nms,
    psa_mask,
    roi,
    sync_bn,
)

__all__ = ["MODULE_NAME", "MissingOpError", "install", "spec", "stand_in"]

P = ParamSpec("P")
R = TypeVar("R")

MODULE_NAME = "mmcv._ext"
_FAMILIES = (
    bbox,
    carafe,
    deform_conv,
    deform_roi_pool,
    focal_loss,
    info,
    masked_conv,
    ms_deform_attn,
    nms,
    psa_mask,
    roi,
    sync_bn,
)


class MissingOpError(LTHError, NotImplementedError):
    """An mmcv operator was called that exists in a compiled mmcv only."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f"mmcv operator `{op}` has no counterpart in torchvision or PyTorch, so it needs a "
            f"compiled mmcv, and none is installed. Install one in place of mmcv-lite: "
            f"`pip uninstall mmcv-lite`, then `pip install mmcv==2.1.0` (built from source: "
            f"needs a C++ compiler, and nvcc for CUDA) or `pip install onedl-mmcv`."
        )
        self.op = op

    def __reduce__(self) -> tuple[type["MissingOpError"], tuple[str]]:
        # The default would hand the whole message to __init__ as the name, in every process that
        # gets this error from a data loader's worker.
        return type(self), (self.op,)


def install() -> bool:
    """Puts a stand-in for ``mmcv._ext`` in place if there is no compiled one.

    Safe to call any number of times, before or after ``import mmcv``.

    Returns:
        True if the stand-in is in use (now or from an earlier call), False if a compiled
        ``mmcv._ext`` is, which is left alone.

    Raises:
        ModuleNotFoundError: If neither mmcv nor mmcv-lite is installed.
    """
    present = sys.modules.get(MODULE_NAME)
    if present is not None:
        return getattr(present, "__spec__", None) is _SPEC
    mmcv = importlib.import_module("mmcv")
    if importlib.util.find_spec(MODULE_NAME) not in (None, _SPEC):
        return False
    module = stand_in()
    sys.modules[MODULE_NAME] = module
    setattr(mmcv, MODULE_NAME.rpartition(".")[2], module)
    return True


def stand_in() -> ModuleType:
    """Makes the stand-in without putting it in place, to compare it with a compiled one."""
    module = importlib.util.module_from_spec(_SPEC)
    _Loader().exec_module(module)
    return module


def spec() -> ModuleSpec:
    """The stand-in as Python's import finds it; see ``_lth_core_startup``."""
    return _SPEC


class _Loader(Loader):
    """Fills the stand-in. A loader, since ``pkgutil.find_loader`` reports a module by its own."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The one in use, where :func:`install` has run on the way to importing it."""
        present = sys.modules.get(MODULE_NAME)
        return present if getattr(present, "__spec__", None) is _SPEC else None

    def exec_module(self, module: ModuleType) -> None:
        for family in _FAMILIES:
            for name in family.__all__:
                setattr(module, name, _opaque(getattr(family, name)))
        # mmcv.ops asks for every operator by name at import, also for those nobody calls.
        module.__getattr__ = _missing  # type: ignore[method-assign]


def _opaque(op: Callable[P, R]) -> Callable[P, R]:
    """Hides from autograd and autocast what an operator is made of, as a compiled one does."""

    @functools.wraps(op)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with (
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            return op(*args, **kwargs)

    return call


_SPEC = ModuleSpec(MODULE_NAME, _Loader(), origin=__name__)


def _missing(name: str) -> Callable[..., NoReturn]:
    # Python itself probes modules for names such as __path__ and __file__.
    if name.startswith("_"):
        raise AttributeError(f"module {MODULE_NAME!r} has no attribute {name!r}")

    def call(*args: Any, **kwargs: Any) -> NoReturn:
        raise MissingOpError(name)

    call.__name__ = call.__qualname__ = name
    return call
