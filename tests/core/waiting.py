"""A trap for whatever makes the host wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lth_core.openmmlab import late
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {
    "aten::_local_scalar_dense",  # item(), bool(), int(), float(), a tensor as an index
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::equal",
}


class WaitError(Exception):
    """Something waited for the device."""


class NoWaiting(TorchDispatchMode):
    """Refuses whatever has to know a value before it can go on."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        indices = args[1] if name in ("aten::index", "aten::index_put_") else ()
        if name in WAITING or any(i is not None and i.dtype == torch.bool for i in indices):
            raise WaitError(name)
        return func(*args, **(kwargs or {}))


def watched(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is not to wait."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with NoWaiting():
            return function(*args, **kwargs)

    return call


def watch_iterations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on no iteration may wait, but the last of each epoch, which is logged.

    Returns:
        To be filled: the iterations that did not wait.
    """
    seen = []

    def watch(loop: Any) -> None:
        plain = loop.run_iter

        def run_iter(self: Any, *args: Any) -> None:
            if self.iter % 4 == 3:
                return plain(self, *args)
            seen.append(self.iter)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(late, "read", _refuse)
                watched(plain)(self, *args)
            return None

        monkeypatch.setattr(loop, "run_iter", run_iter)

    watch(EpochBasedTrainLoop)
    watch(IterBasedTrainLoop)
    return seen


def _refuse(values: list[Any]) -> Any:
    raise WaitError(f"{len(values)} values are read")
