"""The local steps of batch normalisation over several processes (``MMSyncBN``)."""

from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._tensors import widen

__all__ = [
    "sync_bn_backward_data",
    "sync_bn_backward_param",
    "sync_bn_forward_mean",
    "sync_bn_forward_output",
    "sync_bn_forward_var",
]


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Averages each channel.

    Args:
        input: Shape (N, C, S).
        mean: Float32 of shape (C,); overwritten.
    """
    mean.copy_(widen(input).mean(dim=(0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Averages the squared distance of each channel from a mean of all processes.

    Args:
        input: Shape (N, C, S).
        mean: Float32 of shape (C,).
        var: Float32 of shape (C,); overwritten.
    """
    var.copy_((widen(input) - mean[:, None]).square().mean(dim=(0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: Tensor | float,
    group_size: int,
) -> None:
    """Normalises, and updates the running statistics.

    Args:
        input: Shape (N, C, S).
        mean: Mean over all processes, float32 of shape (C,).
        var: Variance over all processes, float32 of shape (C,).
        weight: Shape (C,), or None for plain normalisation.
        bias: Shape (C,), or None with ``weight``.
        running_mean: Shape (C,), updated; None where none is kept.
        running_var: Shape (C,), updated; None with ``running_mean``.
        norm: Float32 (N, C, S); overwritten with the normalised input.
        std: Float32 (C,); overwritten with the standard deviation.
        output: Shape (N, C, S); overwritten.
        eps: Added to the variance.
        momentum: Share of the new statistics in the running ones.
        group_size: Number of processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((widen(input) - mean[:, None]) / std[:, None])
    if weight is None or bias is None:
        output.copy_(norm)
    else:
        output.copy_(norm * weight[:, None] + bias[:, None])
    if running_mean is None or running_var is None:
        return
    count = input.size(0) * input.size(2) * group_size
    unbiased = var * count / (count - 1) if count > 1 else var
    running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
    running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Finds this process' gradient of weight and bias.

    Args:
        grad_output: Shape (N, C, S).
        norm: As the forward pass left it.
        grad_weight: Shape (C,); overwritten.
        grad_bias: Shape (C,); overwritten.
    """
    grad = widen(grad_output)
    grad_weight.copy_((grad * norm).sum(dim=(0, 2)))
    grad_bias.copy_(grad.sum(dim=(0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Finds the gradient of the input.

    Args:
        grad_output: Shape (N, C, S).
        weight: Shape (C,).
        grad_weight: Mean over the processes, shape (C,).
        grad_bias: Mean over the processes, shape (C,).
        norm: As the forward pass left it.
        std: As the forward pass left it.
        grad_input: Shape (N, C, S); overwritten.
    """
    count = grad_output.size(0) * grad_output.size(2)
    common = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((weight / std)[:, None] * (widen(grad_output) - common))
