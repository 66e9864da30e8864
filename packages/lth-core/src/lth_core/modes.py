"""Training and evaluation mode of a model, lent and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Each module of ``model`` has its own mode afterwards, whatever was set inside."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Lends a model in evaluation mode; each module has its own mode afterwards."""
    with modes_kept(model):
        model.eval()
        yield
