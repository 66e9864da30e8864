"""Mixed precision on whatever there is: GPUs, and processors that multiply bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's optimizer wrapper, with the forward pass in bfloat16.

    ``optim_wrapper = dict(type='BFloat16OptimWrapper')`` is all that is needed. mmengine's
    ``AmpOptimWrapper`` does the same with ``dtype='bfloat16'``, but refuses to without a GPU.
    bfloat16 has float32's range, so losses are not scaled. Weights, their gradients and the
    optimizer's state stay float32. Takes what ``OptimWrapper`` takes.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
