"""Running a model for its scores, and leaving no trace in it.

The model's parameters and buffers are replaced during the call (``torch.func.functional_call``):
the pruned weights are zero, gradients go to the stand-ins, running statistics move in copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lth_core.errors import ConfigError
from lth_core.modes import modes_kept
from lth_core.randomness import borrowed
from lth_core.scores import Criterion, Subject

Forward = Callable[[nn.Module, Any], Any]
"""Runs a model on inputs and gives its outputs."""

Loss = Callable[[Any, Any], Tensor]
"""Outputs and targets -> 0-d loss."""


def plain_forward(model: nn.Module, inputs: Any) -> Any:
    """``model(inputs)``."""
    return model(inputs)


class OnBatches(Criterion):
    """Base of the criteria that need data.

    The model is run in training mode, as in the papers: batch norm uses the batch's statistics
    (at initialisation there are no others). It is left as it was, random streams included.

    Args:
        batches: Pairs of inputs and targets, a few; they are kept, and moved to the model's device
            when they are used.
        loss: Of outputs and targets, for example ``torch.nn.functional.cross_entropy``; 0-d.
        forward: How the model is run on the inputs, if not by ``model(inputs)``. With an
            OpenMMLab model, whose losses come out of the model itself, ``lambda model, data:
            model(**data, mode="loss")`` and a ``loss`` that adds them up.

    Raises:
        ConfigError: If there is no batch, or one is not a pair.
    """

    def __init__(
        self, batches: Iterable[tuple[Any, Any]], loss: Loss, forward: Forward = plain_forward
    ) -> None:
        self.batches = tuple(batches)
        self.loss = loss
        self.forward = forward
        name = type(self).__name__
        if not self.batches:
            raise ConfigError(f"{name}: there are no batches; give at least one (inputs, targets)")
        for batch in self.batches:
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise ConfigError(
                    f"{name}: a batch is {type(batch).__name__}; each must be (inputs, targets)"
                )

    def losses(self, borrowed_model: Borrowed) -> Iterator[Tensor]:
        """The loss of each batch, with its graph.

        Raises:
            ConfigError: If the loss is not a number, or does not depend on any weight in scope.
        """
        for batch in self.batches:
            inputs, targets = to_device(batch, borrowed_model.device)
            value = self.loss(self.outputs(borrowed_model, inputs), targets)
            if not isinstance(value, Tensor) or value.numel() != 1:
                what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ConfigError(
                    f"{type(self).__name__}: the loss is {what}; it must be a tensor of one number"
                )
            require_dependent(value, f"{type(self).__name__}: the loss")
            yield value.reshape(())

    def outputs(self, borrowed_model: Borrowed, inputs: Any) -> Any:
        """What the loss is taken of."""
        return borrowed_model.run(self.forward, inputs)


class Borrowed:
    """A model with stand-ins for its parameters and buffers.

    Attributes:
        leaves: The stand-ins of the weights in scope, zero where pruned, which take gradients.
        device: Where they are.
    """

    def __init__(self, model: nn.Module, state: Mapping[str, Tensor], leaves: dict[str, Tensor]):
        self._model = model
        self._state = {f"model.{name}": tensor for name, tensor in state.items()}
        self.leaves = leaves
        self.device = next(iter(leaves.values())).device

    def run(self, forward: Forward, inputs: Any) -> Any:
        """``forward(model, inputs)`` with the stand-ins in place."""
        return functional_call(_Runner(self._model, forward), self._state, (inputs,))

    def gradients(self, value: Tensor, create_graph: bool = False) -> dict[str, Tensor]:
        """Of a 0-d tensor with respect to each leaf; zero where it does not depend on it."""
        if not value.requires_grad:
            return {name: torch.zeros_like(leaf) for name, leaf in self.leaves.items()}
        found = torch.autograd.grad(
            value, list(self.leaves.values()), create_graph=create_graph, materialize_grads=True
        )
        return dict(zip(self.leaves, found, strict=True))


@contextmanager
def borrow(
    subject: Subject,
    by: str,
    training: bool,
    seed: int | None = None,
    convert: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> Iterator[Borrowed]:
    """Lends the subject's model to run it; everything about it is put back afterwards.

    Args:
        subject: What is scored; must hold a model.
        by: Name of the criterion, for messages.
        training: Whether it is run in training mode or in evaluation mode.
        seed: What layers that draw random numbers follow; None: torch's own stream.
        convert: From the name and value of each parameter and buffer to its stand-in's value.

    Raises:
        ConfigError: If only weights were given, or none is in scope.
    """
    model = subject.model
    if model is None:
        raise ConfigError(f"{by} runs the model; give prune the model itself, not its state dict")
    if not subject.weights:
        raise ConfigError(f"{by}: the masks name no weight to score")
    state = {
        # Buffers are written to by layers that keep statistics, so those get a copy in any case.
        **{name: convert(name, tensor.detach()) for name, tensor in model.named_parameters()},
        **{name: convert(name, tensor.detach()).clone() for name, tensor in model.named_buffers()},
    }
    leaves = {}
    for name, mask in subject.masks.items():
        value = state[subject.prefix + name]
        kept = mask.to(value.device)
        # Not a product: what is pruned counts as zero even where it holds NaN.
        leaves[name] = torch.where(kept, value, torch.zeros_like(value)).requires_grad_()
        state[subject.prefix + name] = leaves[name]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    device = next(iter(leaves.values())).device
    try:
        with modes_kept(model), borrowed(seed, device), torch.enable_grad():
            # The model's own train(): it may keep norms or stages frozen.
            model.train(training)
            yield Borrowed(model, state, leaves)
    finally:
        for parameter, takes in trainable:
            parameter.requires_grad_(takes)


class _Runner(nn.Module):
    """Makes a call of ``forward(model, inputs)`` one that ``functional_call`` can make."""

    def __init__(self, model: nn.Module, function: Forward) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, inputs: Any) -> Any:
        return self.function(self.model, inputs)


def require_dependent(value: Tensor, what: str) -> None:
    """Refuses a value that no gradient reaches: every score would be zero, the ranking void."""
    if not value.requires_grad:
        raise ConfigError(
            f"{what} does not depend on the weights in scope; run the part of the model that has "
            "them, and with gradients"
        )


def to_device(value: Any, device: torch.device) -> Any:
    """``value`` with every tensor in its tuples, lists and dicts on ``device``."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(to_device(item, device) for item in value)
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value.to(device) if hasattr(value, "to") else value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in ``value``, its tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
