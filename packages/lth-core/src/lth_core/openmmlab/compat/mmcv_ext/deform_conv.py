"""Deformable convolution, without (v1) and with (v2) modulation."""

from typing import NamedTuple

import torch
from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._tensors import widen

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
]


class _Geometry(NamedTuple):
    """The numbers of a convolution, in the order of torchvision's arguments."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    group: int
    deformable_group: int


def _v1_geometry(named: dict[str, int]) -> _Geometry:
    names = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
    return _Geometry(*(named[name] for name in names))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Convolves pixels read at moved places.

    Args:
        input: Shape (N, C, H, W).
        weight: Shape (O, C / group, kH, kW).
        offset: Shape (N, deformable_group * kH * kW * 2, H', W'), y before x.
        output: Shape (N, O, H', W'); overwritten.
        columns: Working space of the compiled operator; left alone.
        ones: Working space of the compiled operator; left alone.
        **geometry: ``dH``, ``dW`` (strides), ``padH``, ``padW``, ``dilationH``, ``dilationW``,
            ``group``, ``deformable_group``; others, such as ``im2col_step``, have no meaning here.
    """
    output.copy_(_convolve(input, weight, offset, None, None, _v1_geometry(geometry)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803 (mmcv's name, as are the next two)
    gradInput: Tensor,  # noqa: N803
    gradOffset: Tensor,  # noqa: N803
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Finds the gradient of the pixels and of the places.

    Args:
        input: As in the forward pass.
        offset: As in the forward pass.
        gradOutput: Shape (N, O, H', W').
        gradInput: Shape (N, C, H, W); added to.
        gradOffset: The shape of ``offset``; overwritten.
        weight: As in the forward pass.
        columns: Working space of the compiled operator; left alone.
        **geometry: As in the forward pass.
    """
    where = _v1_geometry(geometry)
    grads = _gradients(gradOutput, input, weight, offset, None, where)
    gradInput.add_(grads.input)
    gradOffset.copy_(grads.offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803 (mmcv's name, as is the next)
    gradWeight: Tensor,  # noqa: N803
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Finds the gradient of the weights.

    Args:
        input: As in the forward pass.
        offset: As in the forward pass.
        gradOutput: Shape (N, O, H', W').
        gradWeight: The shape of ``weight``; ``scale`` times the gradient is added.
        columns: Working space of the compiled operator; left alone.
        ones: Working space of the compiled operator; left alone.
        scale: Factor of the gradient.
        **geometry: As in the forward pass.
    """
    where = _v1_geometry(geometry)
    # torchvision has all gradients or none, and mmcv asks for the others in a call of its own. What
    # the kernel reads is had more cheaply: each channel as an image, convolved with single ones.
    total = widen(gradWeight).new_zeros(where.group, gradWeight.numel() // where.group)
    taps = gradWeight[0, 0].numel()
    pick = torch.eye(taps, dtype=total.dtype, device=total.device)
    pick = pick.view(taps, 1, *gradWeight.shape[2:])
    single = where._replace(group=1, deformable_group=1)
    per_group = input.size(1) // where.deformable_group
    for image, places, grad in zip(input, offset, gradOutput, strict=True):
        places = places.unflatten(0, (where.deformable_group, 1, -1))
        places = places.expand(-1, per_group, -1, -1, -1).flatten(0, 1)
        read = _convolve(image[:, None], pick, places, None, None, single)
        read = read.view(where.group, -1, read[0, 0].numel())
        grad = widen(grad).reshape(where.group, -1, read.size(2))
        total += (grad @ read.mT).flatten(1)
    gradWeight.add_(total.view_as(gradWeight), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolves pixels read at moved places and scaled there.

    Args:
        input: Shape (N, C, H, W).
        weight: Shape (O, C / group, kernel_h, kernel_w).
        bias: Shape (O,), or anything without ``with_bias``.
        ones: Working space of the compiled operator; left alone.
        offset: Shape (N, deformable_group * kernel_h * kernel_w * 2, H', W'), y before x.
        mask: Shape (N, deformable_group * kernel_h * kernel_w, H', W').
        output: Shape (N, O, H', W'); overwritten.
        columns: Working space of the compiled operator; left alone.
        kernel_h: Height of the kernel, as ``weight`` says, too.
        kernel_w: Width of the kernel.
        stride_h: Vertical step.
        stride_w: Horizontal step.
        pad_h: Rows of zeros above and below.
        pad_w: Columns of zeros left and right.
        dilation_h: Rows from one kernel element to the next.
        dilation_w: Columns from one kernel element to the next.
        group: Groups of channels that are convolved apart.
        deformable_group: Groups of channels with places of their own.
        with_bias: Whether to add ``bias``.
    """
    where = _Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    output.copy_(_convolve(input, weight, offset, mask, bias if with_bias else None, where))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Finds all gradients of :func:`modulated_deform_conv_forward`.

    Args:
        input: As in the forward pass.
        weight: As in the forward pass.
        bias: As in the forward pass.
        ones: Working space of the compiled operator; left alone.
        offset: As in the forward pass.
        mask: As in the forward pass.
        columns: Working space of the compiled operator; left alone.
        grad_input: The shape of ``input``; added to.
        grad_weight: The shape of ``weight``; added to.
        grad_bias: The shape of ``bias``; added to with ``with_bias``, else left alone.
        grad_offset: The shape of ``offset``; overwritten.
        grad_mask: The shape of ``mask``; overwritten.
        grad_output: Shape (N, O, H', W').
        kernel_h: As in the forward pass.
        kernel_w: As in the forward pass.
        stride_h: As in the forward pass.
        stride_w: As in the forward pass.
        pad_h: As in the forward pass.
        pad_w: As in the forward pass.
        dilation_h: As in the forward pass.
        dilation_w: As in the forward pass.
        group: As in the forward pass.
        deformable_group: As in the forward pass.
        with_bias: As in the forward pass.
    """
    where = _Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    grads = _gradients(grad_output, input, weight, offset, mask, where)
    grad_input.add_(grads.input)
    grad_weight.add_(grads.weight)
    grad_offset.copy_(grads.offset)
    grad_mask.copy_(grads.mask)
    if with_bias:
        grad_bias.add_(grads.bias)


class _Gradients(NamedTuple):
    """In the order in which torchvision returns them."""

    input: Tensor
    weight: Tensor
    offset: Tensor
    mask: Tensor
    bias: Tensor


def _convolve(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    where: _Geometry,
) -> Tensor:
    maps = widen(input)
    result: Tensor = torch.ops.torchvision.deform_conv2d(
        maps,
        widen(weight),
        widen(offset),
        maps.new_zeros(len(maps), 1) if mask is None else widen(mask),
        maps.new_zeros(len(weight)) if bias is None else widen(bias),
        *where,
        mask is not None,
    )
    return result


def _gradients(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    where: _Geometry,
) -> _Gradients:
    maps, offset = widen(input), widen(offset)
    grads = _Gradients(
        *torch.ops.torchvision._deform_conv2d_backward(
            widen(grad),
            maps,
            widen(weight),
            offset,
            maps.new_zeros(len(maps), 1) if mask is None else widen(mask),
            maps.new_zeros(len(weight)),
            *where,
            mask is not None,
        )
    )
    # torchvision pulls places exactly on the first row or column of padding into the map; in mmcv
    # they have left it. New layers start with zero offsets, so nearly every border has such places.
    left = ~_beyond_the_first_line(offset, (weight.size(2), weight.size(3)), where)
    return grads._replace(offset=grads.offset.masked_fill(left, 0))


def _beyond_the_first_line(offset: Tensor, kernel: tuple[int, int], where: _Geometry) -> Tensor:
    """Which places lie below row -1 and right of column -1: bool of the shape of ``offset``."""
    count, _, high, wide = offset.shape
    ticks = (torch.arange(n, device=offset.device) for n in (*kernel, high, wide))
    i, j, row, column = torch.meshgrid(*ticks, indexing="ij")
    y = row * where.stride_h - where.pad_h + i * where.dilation_h
    x = column * where.stride_w - where.pad_w + j * where.dilation_w
    start = torch.stack([y, x], dim=2).flatten(0, 1)
    place = start + offset.reshape(count, -1, kernel[0] * kernel[1], 2, high, wide)
    beyond = (place > -1).all(dim=3, keepdim=True)
    return beyond.expand_as(place).reshape(offset.shape)
