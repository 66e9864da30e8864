"""Focal losses over sigmoid and softmax probabilities."""

import torch
from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._tensors import FLT_MIN, widen

__all__ = [
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
]


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Computes ``-alpha * (1 - p)^gamma * log(p)`` for the target class, mirrored for the others.

    Args:
        input: Logits (N, C).
        target: Class of each row, int64 of shape (N,); C or a negative number for background.
        weight: Factor of each row by its class, shape (C,), or empty. Background counts once.
        output: Shape (N, C); overwritten.
        gamma: How much easy examples are played down.
        alpha: Share of the target class.
    """
    _check_target(target, largest=input.size(1))
    p = torch.sigmoid(widen(input))
    at_target = -alpha * (1 - p) ** gamma * p.clamp(min=FLT_MIN).log()
    elsewhere = -(1 - alpha) * p**gamma * (1 - p).clamp(min=FLT_MIN).log()
    loss = torch.where(_one_hot(target, input.size(1)), at_target, elsewhere)
    output.copy_(loss * _row_weight(weight, target)[:, None])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the derivative of each element of the loss by its own logit.

    Args:
        input: As in the forward pass.
        target: As in the forward pass.
        weight: As in the forward pass.
        grad_input: Shape (N, C); overwritten.
        gamma: As in the forward pass.
        alpha: As in the forward pass.
    """
    p = torch.sigmoid(widen(input))
    q = 1 - p
    at_target = -alpha * q**gamma * (q - gamma * p * p.clamp(min=FLT_MIN).log())
    elsewhere = -(1 - alpha) * p**gamma * (gamma * q * q.clamp(min=FLT_MIN).log() - p)
    grad = torch.where(_one_hot(target, input.size(1)), at_target, elsewhere)
    grad_input.copy_(grad * _row_weight(weight, target)[:, None])


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Computes ``-alpha * (1 - p)^gamma * log(p)`` of the target class.

    Args:
        input: Probabilities (N, C), rows summing to one.
        target: Class of each row, int64 of shape (N,); rows with a negative class count nothing.
        weight: Factor of each row by its class, shape (C,), or empty.
        output: Shape (N,); overwritten.
        gamma: How much easy examples are played down.
        alpha: Factor of the whole loss.
    """
    _check_target(target, largest=input.size(1) - 1)
    p = _target_probability(input, target)
    loss = -alpha * (1 - p) ** gamma * p.clamp(min=FLT_MIN).log()
    output.copy_(torch.where(target >= 0, loss * _row_weight(weight, target), 0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Writes the derivative of each row's loss by the logits under its softmax.

    Args:
        input: As in the forward pass.
        target: As in the forward pass.
        weight: As in the forward pass.
        buff: Working space (N,); overwritten.
        grad_input: Shape (N, C); overwritten.
        gamma: As in the forward pass.
        alpha: As in the forward pass.
    """
    p = _target_probability(input, target)
    q = 1 - p
    slope = alpha * (gamma * q ** (gamma - 1) * p * p.clamp(min=FLT_MIN).log() - q**gamma)
    slope = torch.where(target >= 0, slope * _row_weight(weight, target), 0)
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (_one_hot(target, input.size(1)).to(slope) - widen(input)))


def _check_target(target: Tensor, largest: int) -> None:
    if target.numel() and int(target.max()) > largest:
        raise ValueError(f"target holds class {int(target.max())}; the largest here is {largest}")


def _one_hot(target: Tensor, classes: int) -> Tensor:
    return target[:, None] == torch.arange(classes, device=target.device)


def _target_probability(probabilities: Tensor, target: Tensor) -> Tensor:
    return widen(probabilities).gather(1, target.clamp(min=0)[:, None]).squeeze(1)


def _row_weight(weight: Tensor, target: Tensor) -> Tensor:
    """Factor of each row, (N,). A compiled mmcv reads past the end of ``weight`` at background."""
    if not weight.numel():
        return torch.ones(len(target), device=target.device)
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, widen(weight)[target.clamp(0, len(weight) - 1)], 1)
