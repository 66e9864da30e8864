"""Checkpoints under torch >= 2.6, where ``torch.load`` reads nothing but tensors by default.

mmengine's checkpoints also hold its message hub: ``HistoryBuffer`` objects with numpy arrays and
references to their methods inside. When reading, exactly those are allowed and the protection
stays on, and a file that cannot be read is an error of one line. When writing,
:class:`PlainCheckpointHook` puts tensors in their place, so that what lth saves is readable by
``torch.load(weights_only=True)`` with nothing allowed.
"""

from __future__ import annotations

import importlib
import pickle
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner.checkpoint import load_from_local

from lth_core.checkpoints import unreadable

_SCALARS = "lth_log_scalars"


def install() -> None:
    """Allows mmengine's own types in ``torch.load``, and tells of files that it cannot read."""
    CheckpointLoader.register_scheme("", _load_local, force=True)
    multiarray = importlib.import_module(
        "numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray"
    )
    dtypes = (np.bool_, np.int32, np.int64, np.uint8, np.float16, np.float32, np.float64)
    functions = [
        (function, f"{module}.{name}")
        for name, function in (
            ("_reconstruct", multiarray._reconstruct),
            ("scalar", multiarray.scalar),
        )
        for module in ("numpy._core.multiarray", "numpy.core.multiarray")  # numpy 2's, numpy 1's
    ]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            *functions,
            (_history_method, "builtins.getattr"),
            *{type(np.dtype(dtype)) for dtype in dtypes},
        ]
    )


def _load_local(filename: str, map_location: Any = None) -> Any:
    """A local checkpoint, read by mmengine's own loader.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If it cannot be read.
    """
    try:
        return load_from_local(filename, map_location)
    except FileNotFoundError:
        raise
    except Exception as problem:  # of damaged pickles any
        raise unreadable(filename, problem) from None


def _history_method(owner: Any, name: str) -> Any:
    """What ``getattr`` may do in a checkpoint: name a method of ``HistoryBuffer``."""
    if owner is not HistoryBuffer or name.startswith("_"):
        raise pickle.UnpicklingError(f"a checkpoint may not look up {name!r} of {owner!r}")
    return getattr(owner, name)


class PlainCheckpointHook(Hook):
    """Writes logged scalars as tensors, and restores them on resuming."""

    priority = "VERY_HIGH"  # on loading, before hooks that look at the message hub

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes the ``HistoryBuffer`` objects and numpy values out of ``checkpoint``."""
        hub = dict(checkpoint["message_hub"])
        checkpoint[_SCALARS] = {
            name: tuple(torch.as_tensor(np.array(history, np.float64)) for history in buffer.data)
            for name, buffer in hub["log_scalars"].items()
        }
        # Plain mmengine, when it resumes from this, wants the key.
        checkpoint["message_hub"] = _plain(hub | {"log_scalars": {}})
        checkpoint["meta"] = _plain(checkpoint["meta"])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Puts the ``HistoryBuffer`` objects back."""
        scalars = checkpoint.pop(_SCALARS, None)
        if scalars is not None and "message_hub" in checkpoint:
            checkpoint["message_hub"]["log_scalars"] = {
                name: HistoryBuffer(*(history.numpy() for history in histories))
                for name, histories in scalars.items()
            }


def _plain(value: Any) -> Any:
    """``value`` with numpy's scalars and arrays as Python's own."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value
