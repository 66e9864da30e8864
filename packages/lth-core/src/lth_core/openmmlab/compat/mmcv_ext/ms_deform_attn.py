"""Multi-scale deformable attention."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._tensors import widen

__all__ = ["ms_deform_attn_backward", "ms_deform_attn_forward"]

# Anywhere so far outside that reading there gives zero.
_AWAY = -3.0


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sums values read at a few places of each feature level, weighted.

    Args:
        value: Shape (N, S, heads, D), the pixels of all levels one after the other.
        value_spatial_shapes: Height and width of each level, int64 of shape (L, 2).
        value_level_start_index: First pixel of each level, int64 of shape (L,).
        sampling_locations: Shape (N, Q, heads, L, P, 2), x before y, 0 to 1 across the level.
        attention_weights: Shape (N, Q, heads, L, P).
        im2col_step: Batch size of the compiled operator; no meaning here.

    Returns:
        Shape (N, Q, heads * D).
    """
    count, _, heads, width = value.shape
    total = widen(value).new_zeros(count * heads, width, sampling_locations.size(1))
    for level, (pixels, size) in enumerate(_levels(value_spatial_shapes, value_level_start_index)):
        total += _attend(
            widen(value[:, pixels]),
            widen(sampling_locations[:, :, :, level]),
            widen(attention_weights[:, :, :, level]),
            size,
        )
    return total.view(count, heads * width, -1).transpose(1, 2).to(value.dtype).contiguous()


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Finds the gradients of :func:`ms_deform_attn_forward`.

    Args:
        value: As in the forward pass.
        value_spatial_shapes: As in the forward pass.
        value_level_start_index: As in the forward pass.
        sampling_locations: As in the forward pass.
        attention_weights: As in the forward pass.
        grad_output: Shape (N, Q, heads * D).
        grad_value: The shape of ``value``; added to.
        grad_sampling_loc: The shape of ``sampling_locations``; overwritten.
        grad_attn_weight: The shape of ``attention_weights``; overwritten.
        im2col_step: Batch size of the compiled operator; no meaning here.
    """
    count, _, heads, width = value.shape
    grad = widen(grad_output).transpose(1, 2).reshape(count * heads, width, -1)
    # The levels are summed, so each can be done on its own, and only one is in memory at a time.
    for level, (pixels, size) in enumerate(_levels(value_spatial_shapes, value_level_start_index)):
        parts = (
            value[:, pixels],
            sampling_locations[:, :, :, level],
            attention_weights[:, :, :, level],
        )
        with torch.enable_grad():
            leaves = [widen(part).detach().requires_grad_() for part in parts]
            attended = _attend(leaves[0], leaves[1], leaves[2], size)
        grads = torch.autograd.grad(attended, leaves, grad)
        grad_value[:, pixels] += grads[0].to(grad_value.dtype)
        grad_sampling_loc[:, :, :, level] = grads[1].to(grad_sampling_loc.dtype)
        grad_attn_weight[:, :, :, level] = grads[2].to(grad_attn_weight.dtype)


def _levels(shapes: Tensor, starts: Tensor) -> list[tuple[slice, tuple[int, int]]]:
    return [
        (slice(start, start + height * width), (height, width))
        for (height, width), start in zip(shapes.tolist(), starts.tolist(), strict=True)
    ]


def _attend(value: Tensor, at: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Reads one level.

    Args:
        value: Shape (N, H * W, heads, D).
        at: Shape (N, Q, heads, P, 2).
        weight: Shape (N, Q, heads, P).
        size: H and W.

    Returns:
        Shape (N * heads, D, Q).
    """
    height, width = size
    count, _, heads, channels = value.shape
    queries, points = at.size(1), at.size(3)
    maps = value.permute(0, 2, 3, 1).reshape(count * heads, channels, height, width)
    # On the last line outside a map, where reading gives zero, grid_sample has a slope and mmcv
    # has none. Offsets start as whole pixels, so that places there are common.
    pixel = at.detach() * at.new_tensor([width, height]) - 0.5
    inside = ((pixel > -1) & (pixel < at.new_tensor([width, height]))).all(-1, keepdim=True)
    grid = torch.where(inside, 2 * at - 1, _AWAY).transpose(1, 2)
    read = F.grid_sample(maps, grid.reshape(count * heads, queries, points, 2), align_corners=False)
    scale = weight.transpose(1, 2).reshape(count * heads, 1, queries, points)
    return (read * scale).sum(-1)
