"""Tickets and models that the tests of tickets share."""

from __future__ import annotations

import lth_core as lth
import torch
from torch import nn

from .helpers import bits


def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model on the CPU with every tensor, running statistics included, drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
            else:
                tensor.zero_()
    return model


def tiny(weights: bool = True) -> lth.Ticket:
    masks = lth.MaskSet({"a.weight": torch.tensor([[True, False, True], [False, False, True]])})
    state = {"a.weight": torch.arange(1.0, 7.0).reshape(2, 3), "a.bias": torch.tensor([0.5])}
    return lth.Ticket(masks, state if weights else None, {"level": 1})


def same_ticket(one: lth.Ticket, other: lth.Ticket) -> bool:
    alike = one.masks == other.masks and one.meta == other.meta
    if one.weights is None or other.weights is None:
        return alike and one.weights is other.weights
    return (
        alike
        and one.weights.keys() == other.weights.keys()
        and all(
            tensor.dtype == other.weights[name].dtype
            and tensor.shape == other.weights[name].shape
            and bits(tensor) == bits(other.weights[name])
            for name, tensor in one.weights.items()
        )
    )
