"""Keeping masks exact while a model trains, in plain PyTorch and underneath the OpenMMLab hooks.

When a mask is attached, pruned weights, their gradients and their optimizer state are zeroed once.
From then on each gradient is masked the moment it has been accumulated, that is inside
``backward()``: before anybody clips, scales or averages it (DistributedDataParallel copies a
gradient into its bucket after this). With weight, gradient and state at zero, SGD, Adam(W) and
LARS keep exact zeros, weight decay included, so nothing is repaired later, only checked.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lth_core.errors import ExactnessError
from lth_core.masks import MaskSet
from lth_core.scope import locate, unwrap
from lth_core.sharding import local, parameters_of, spread_like


@torch.no_grad()
def zero_pruned(model: nn.Module, masks: MaskSet) -> None:
    """Sets pruned weights to zero in ``model`` and in every twin inside it."""
    prefix, twins = locate(model, masks)
    named = parameters_of(unwrap(model))
    for where in (prefix, *twins):
        for name, mask in masks.items():
            parameter = named[where + name]
            local(parameter).masked_fill_(~_like(mask, parameter), 0)


def attach(
    model: nn.Module, masks: MaskSet, optimizer: Optimizer | Iterable[Optimizer] | None = None
) -> Link:
    """Trains ``model`` with ``masks`` from here on.

    Call it once model and optimizer are final: after wrapping in DistributedDataParallel, moving
    to a device, loading a checkpoint.

    Args:
        model: The model, wrapped or not.
        masks: Masks named as in the model or relative to its backbone.
        optimizer: The optimizer or optimizers, so that their state is zeroed where weights are
            pruned.

    Returns:
        A link whose :meth:`Link.check` asserts exact zeros and :meth:`Link.detach` lets go.

    Raises:
        MaskError: If the masks do not fit the model.
    """
    if optimizer is None:
        return Link(model, masks, ())
    return Link(model, masks, (optimizer,) if isinstance(optimizer, Optimizer) else optimizer)


class Link:
    """The bond between a model and its masks; made by :func:`attach`."""

    def __init__(self, model: nn.Module, masks: MaskSet, optimizers: Iterable[Optimizer]) -> None:
        zero_pruned(model, masks)
        self.model = unwrap(model)
        self.masks = masks
        self.optimizers = tuple(optimizers)
        self.prefix, self.twins = locate(model, masks)
        self._handles: list[Any] = []
        self._masked: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._pairs: dict[int, tuple[nn.Parameter, Tensor]] = {}
        named = parameters_of(self.model)
        for name, mask in masks.items():
            parameter = named[self.prefix + name]
            self._pairs[id(parameter)] = (parameter, _factor(mask, parameter))
            if parameter.requires_grad:
                self._handles.append(
                    parameter.register_post_accumulate_grad_hook(self._mask_gradient)
                )
            if parameter.grad is not None:
                self._mask_gradient(parameter)
        for optimizer in self.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(self._mask_strays))
        self._zero_states()

    def check(self) -> None:
        """Asserts that every pruned weight, gradient, twin and optimizer state is exactly zero.

        A gradient that overflowed (NaN or infinity) passes: a gradient scaler skips its step, and
        without one the weight will not pass.

        Raises:
            ExactnessError: Naming the first that is not, or the first parameter that has been
                replaced since :func:`attach` (wrap the model first, then attach).
        """
        named = parameters_of(self.model)
        for name, mask in self.masks.items():
            parameter = named.get(self.prefix + name)
            if parameter is None or id(parameter) not in self._pairs:
                raise ExactnessError(
                    f"{self.prefix + name} was removed or replaced by another parameter after "
                    "attach(); attach masks after the model has been wrapped"
                )
            pruned = ~_like(mask, parameter)
            _require_zero(parameter, pruned, f"weight {self.prefix + name}")
            if parameter.grad is not None:
                finite = pruned & local(parameter.grad).isfinite()
                _require_zero(parameter.grad, finite, f"gradient of {self.prefix + name}")
            for key, state in self._states(parameter):
                _require_zero(state, pruned, f"optimizer state {key} of {self.prefix + name}")
            for twin in self.twins:
                copy = named[twin + name]
                _require_zero(copy, ~_like(mask, copy), f"twin {twin + name}")

    def detach(self) -> None:
        """Lets the model train freely again. Weights stay as they are."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def _mask_gradient(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None:
            return
        owner, factor = self._pairs[id(parameter)]
        own = local(gradient)
        if factor.device != own.device:
            factor = _factor(factor != 0, own)
            self._pairs[id(parameter)] = (owner, factor)
        # A product keeps NaN and infinity, so that a gradient scaler still notices overflow.
        own.mul_(factor)
        self._masked[id(parameter)] = weakref.ref(gradient), gradient._version

    def _mask_strays(self, *_: Any) -> None:
        """Masks gradients that were set or changed by hand since ``backward()``."""
        for key, (parameter, _mask) in self._pairs.items():
            gradient = parameter.grad
            if gradient is None:
                continue
            seen = self._masked.get(key)
            # Not every way of writing into a sharded tensor counts up its version.
            sharded = local(gradient) is not gradient
            if sharded or seen is None or seen[0]() is not gradient or seen[1] != gradient._version:
                self._mask_gradient(parameter)

    def _states(self, parameter: nn.Parameter) -> Iterable[tuple[str, Tensor]]:
        return [
            (key, value)
            for optimizer in self.optimizers
            for key, value in optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor) and value.shape == parameter.shape
        ]

    @torch.no_grad()
    def _zero_states(self) -> None:
        for parameter, factor in self._pairs.values():
            for _, state in self._states(parameter):
                own = local(state)
                own.masked_fill_((factor == 0).to(own.device), 0)


@torch.no_grad()
def _like(mask: Tensor, parameter: Tensor) -> Tensor:
    """``mask`` laid out as the parameter: its device, memory format and local part."""
    own = local(parameter)
    part = local(spread_like(mask, parameter))
    return torch.empty_like(own, dtype=torch.bool, requires_grad=False).copy_(part)


def _factor(mask: Tensor, like: Tensor) -> Tensor:
    """``mask`` as what a gradient is multiplied with.

    On a CPU a product of floats is six times as fast as one of a float and a bool; on a GPU both
    wait for memory, of which a bool takes a quarter.
    """
    mask = _like(mask, like)
    return mask.to(like.dtype) if like.device.type == "cpu" else mask


def _require_zero(tensor: Tensor, pruned: Tensor, what: str) -> None:
    own = local(tensor.detach())
    wrong = (own != 0) & pruned.to(own.device)
    if bool(wrong.any()):
        if not bool(own[wrong].isfinite().any()):
            raise ExactnessError(
                f"{what} is not a number any more: training has diverged; lower the learning rate, "
                "or clip gradients"
            )
        raise ExactnessError(
            f"{what} has {int(wrong.count_nonzero())} pruned entries that are not zero"
        )
