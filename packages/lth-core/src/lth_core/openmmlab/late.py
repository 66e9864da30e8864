"""Losses that are read late: the log never makes the host wait for the device within a step.

mmengine reads every loss at every step, for its log, and so waits for the device each time. Here
they stay on the device until somebody asks for the log's history: the logger at its interval, a
checkpoint, any other hook. Whoever asks finds the same numbers as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

_MOST = 1000
"""Values that wait to be read; a log that nobody looks at must not fill the device."""


class LateBuffer(HistoryBuffer):
    """A history to which tensors can be added without being read.

    Copied or pickled it is a plain history.

    Args:
        known: The history so far.
    """

    def __init__(self, known: HistoryBuffer | None = None) -> None:
        self._waiting: list[Tensor] = []
        if known is None:
            super().__init__()
        else:
            super().__init__(*known.data, max_length=known.max_length)

    def add(self, value: Tensor) -> None:
        """Adds a tensor of one number, which may change afterwards."""
        self._waiting.append(value.detach().clone())
        if len(self._waiting) >= _MOST:
            self._read()

    @property
    def _log_history(self) -> np.ndarray:
        self._read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def _read(self) -> None:
        if not self._waiting:
            return
        values = read(self._waiting)
        self._waiting = []
        ones = [1] * len(values)
        # An empty array is one of floats, and would make floats of whole numbers.
        self._values = np.append(self._values, values) if len(self._values) else np.array(values)
        self._counts = np.append(self._counts, ones) if len(self._counts) else np.array(ones)
        self._values = self._values[-self.max_length :]
        self._counts = self._counts[-self.max_length :]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return HistoryBuffer, (*self.data, self.max_length)


def read(values: list[Tensor]) -> list[Any]:
    """The numbers in tensors of one number each; those of a kind are fetched together."""
    found: list[Any] = []
    for _, alike in groupby(values, lambda value: (value.dtype, value.device)):
        found += torch.stack([value.reshape(()) for value in alike]).tolist()
    return found


def add_late(hub: MessageHub, key: str, value: Any) -> None:
    """What :meth:`MessageHub.update_scalar` does, but tensors are not read."""
    if type(value) is not Tensor or value.numel() != 1:
        hub.update_scalar(key, value)  # which knows sharded ones, and refuses what is no number
        return
    buffer = hub.log_scalars.get(key)
    if not isinstance(buffer, LateBuffer):  # the first one, or the first one after a resume
        hub._set_resumed_keys(key, True)
        buffer = LateBuffer(buffer)
        hub.log_scalars[key] = buffer
    buffer.add(value)


@HOOKS.register_module()
class LateInfoHook(RuntimeInfoHook):
    """mmengine's RuntimeInfoHook, but losses and norms of gradients are read late."""

    def before_train(self, runner: Runner) -> None:
        """As mmengine's."""
        super().before_train(runner)
        wrappers = runner.optim_wrapper
        several = isinstance(wrappers, OptimWrapperDict)
        for wrapper in wrappers.values() if several else [wrappers]:
            if getattr(wrapper, "clip_grad_kwargs", None):
                wrapper.clip_func = _logged_late(wrapper, wrapper.clip_func)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Adds the losses to the log's history, unread."""
        for key, value in (outputs or {}).items():
            add_late(runner.message_hub, f"train/{key}", value)


def _logged_late(wrapper: OptimWrapper, clip: Callable[..., Any]) -> Callable[..., None]:
    """Clips gradients; the wrapper, which would read their norm, is given none."""

    def clip_and_log(*args: Any, **kwargs: Any) -> None:
        norm = clip(*args, **kwargs)
        if norm is not None:
            add_late(wrapper.message_hub, f"train/{wrapper.grad_name}", norm)

    return clip_and_log
