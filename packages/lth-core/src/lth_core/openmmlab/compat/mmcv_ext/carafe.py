"""CARAFE: upsampling with a kernel predicted for each output pixel."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._tensors import widen

__all__ = ["carafe_backward", "carafe_forward", "carafe_naive_backward", "carafe_naive_forward"]


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsamples; each output pixel is a sum over the neighbourhood of the pixel it comes from.

    Args:
        features: Shape (N, C, H, W).
        masks: Kernels (N, group_size * kernel_size², H * scale_factor, W * scale_factor).
        output: Shape (N, C, H * scale_factor, W * scale_factor); overwritten.
        kernel_size: Side of the neighbourhood, odd.
        group_size: Groups of channels with kernels of their own.
        scale_factor: Output pixels per pixel and direction.
    """
    kernels = _kernels(masks, features, group_size, scale_factor)
    count, channels, height, width = features.shape
    total = kernels.new_zeros(
        count, group_size, channels // group_size, height, scale_factor, width, scale_factor
    )
    for tap, (window, _) in enumerate(_neighbours(features, kernel_size, group_size)):
        total.addcmul_(window, kernels[:, :, tap, None])
    output.copy_(total.view_as(output))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Finds the gradients of :func:`carafe_naive_forward`.

    Args:
        top_grad: Shape (N, C, H * scale_factor, W * scale_factor).
        features: As in the forward pass.
        masks: As in the forward pass.
        bottom_grad: The shape of ``features``; added to.
        mask_grad: The shape of ``masks``; added to.
        kernel_size: As in the forward pass.
        group_size: As in the forward pass.
        scale_factor: As in the forward pass.
    """
    kernels = _kernels(masks, features, group_size, scale_factor)
    count, channels, height, width = features.shape
    grad = widen(top_grad).reshape(
        count, group_size, channels // group_size, height, scale_factor, width, scale_factor
    )
    half = kernel_size // 2
    padded = kernels.new_zeros(count, channels, height + 2 * half, width + 2 * half)
    kernel_grad = torch.zeros_like(kernels)
    for tap, (window, (rows, columns)) in enumerate(_neighbours(features, kernel_size, group_size)):
        share = (grad * kernels[:, :, tap, None]).sum(dim=(4, 6))
        padded[:, :, rows, columns] += share.view(features.shape)
        kernel_grad[:, :, tap] = (grad * window).sum(dim=2)
    bottom_grad.add_(padded[:, :, half : half + height, half : half + width])
    mask_grad.add_(kernel_grad.view_as(mask_grad))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """The same as :func:`carafe_naive_forward`, with the arguments of mmcv's faster form.

    Args:
        features: As in the plain form.
        masks: As in the plain form.
        rfeatures: The shape of ``features``; overwritten with what the backward pass needs.
        routput: Working space of the compiled operator; left alone.
        rmasks: Working space of the compiled operator; left alone.
        output: As in the plain form.
        kernel_size: As in the plain form.
        group_size: As in the plain form.
        scale_factor: As in the plain form.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """The same as :func:`carafe_naive_backward`, with the arguments of mmcv's faster form.

    Args:
        top_grad: As in the plain form.
        rfeatures: As :func:`carafe_forward` left it.
        masks: As in the plain form.
        rtop_grad: Working space of the compiled operator; left alone.
        rbottom_grad_hs: Working space of the compiled operator; left alone.
        rbottom_grad: Working space of the compiled operator; left alone.
        rmask_grad: Working space of the compiled operator; left alone.
        bottom_grad: As in the plain form.
        mask_grad: As in the plain form.
        kernel_size: As in the plain form.
        group_size: As in the plain form.
        scale_factor: As in the plain form.
    """
    carafe_naive_backward(
        top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor
    )


def _kernels(masks: Tensor, features: Tensor, groups: int, scale: int) -> Tensor:
    """Masks as (N, groups, taps, H, scale, W, scale)."""
    height, width = features.shape[2:]
    return widen(masks).reshape(len(masks), groups, -1, height, scale, width, scale)


def _neighbours(
    features: Tensor, kernel_size: int, groups: int
) -> Iterator[tuple[Tensor, tuple[slice, slice]]]:
    """For each kernel element: the features it sees, and where these lie in the padded map.

    One at a time, since all of them together are kernel_size² times the feature map.
    """
    half = kernel_size // 2
    channels, height, width = features.shape[1:]
    padded = F.pad(widen(features), (half, half, half, half))
    for i in range(kernel_size):
        for j in range(kernel_size):
            rows, columns = slice(i, i + height), slice(j, j + width)
            window = padded[:, :, rows, columns].unflatten(1, (groups, channels // groups))
            yield window[:, :, :, :, None, :, None], (rows, columns)
