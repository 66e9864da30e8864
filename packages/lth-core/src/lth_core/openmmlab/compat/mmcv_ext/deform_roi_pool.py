"""RoIAlign whose bins are moved by learnt offsets."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._regions import Box, sample_points, scaled_box
from lth_core.openmmlab.compat.mmcv_ext._tensors import Corners, corners, pixels_last, widen

__all__ = ["deform_roi_pool_backward", "deform_roi_pool_forward"]


class _Read(NamedTuple):
    rois: Tensor  # (B,)
    y: Tensor  # (B, bins high, bins wide, points), as all below
    x: Tensor
    near: Corners
    pixels: Tensor  # (4, B, bins high, bins wide, points) int64, rows of pixels_last


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Averages bilinear samples of each moved bin of each region.

    Args:
        input: Feature maps (N, C, H, W).
        rois: Shape (R, 5) as (image, x1, y1, x2, y2).
        offset: Shape (R, 2, pooled_height, pooled_width), by how much the bins move in x and y,
            in units of ``gamma`` times the region's size; or empty.
        output: Shape (R, C, pooled_height, pooled_width); overwritten.
        pooled_height: Bins per region, high.
        pooled_width: Bins per region, wide.
        spatial_scale: Pixels of the map per pixel of the image.
        sampling_ratio: Samples per bin and direction; 0 for as many as the bin has pixels.
        gamma: Scale of the offsets.
    """
    maps = widen(input)
    rois, offset = rois.to(maps.dtype), offset.to(maps.dtype)
    box = scaled_box(rois, spatial_scale, aligned=True)
    rows = pixels_last(maps)
    output.zero_()
    bins = (pooled_height, pooled_width)
    for read in _reads(maps, rois, box, offset, bins, sampling_ratio, gamma):
        values = (rows[read.pixels] * read.near.weight[..., None]).sum(0)
        output[read.rois] = values.mean(3).movedim(-1, 1).to(output.dtype)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Gives the gradient of the bins to the pixels that they read, and to the offsets.

    At the border of the map, where a sample reads the nearest pixel, mmcv's gradient of the
    offsets is not the derivative of the forward pass; this is mmcv's.

    Args:
        grad_output: Shape (R, C, pooled_height, pooled_width).
        input: As in the forward pass.
        rois: As in the forward pass.
        offset: As in the forward pass.
        grad_input: Shape (N, C, H, W); added to.
        grad_offset: The shape of ``offset``; added to.
        pooled_height: As in the forward pass.
        pooled_width: As in the forward pass.
        spatial_scale: As in the forward pass.
        sampling_ratio: As in the forward pass.
        gamma: As in the forward pass.
    """
    maps = widen(input)
    rois, offset = rois.to(maps.dtype), offset.to(maps.dtype)
    grad = grad_output.to(maps.dtype)
    box = scaled_box(rois, spatial_scale, aligned=True)
    rows = pixels_last(maps)
    total = torch.zeros_like(rows)
    bins = (pooled_height, pooled_width)
    for read in _reads(maps, rois, box, offset, bins, sampling_ratio, gamma):
        near = read.near
        share = (grad[read.rois].movedim(1, -1) / read.y.size(3))[:, :, :, None, :]
        total.index_add_(0, read.pixels.flatten(), (near.weight[..., None] * share).flatten(0, -2))
        if not offset.numel():
            continue
        # Per sample, the sum over channels of gradient times value: all that the slopes need.
        v = (rows[read.pixels] * share).sum(-1) * near.inside
        (y_low, y_high), (x_low, x_high) = near.y, near.x
        slope_x = (v[3] - v[2]) * (read.y - y_low) + (v[1] - v[0]) * (y_high - read.y)
        slope_y = (v[3] - v[1]) * (read.x - x_low) + (v[2] - v[0]) * (x_high - read.x)
        size = torch.stack([box.width[read.rois], box.height[read.rois]], dim=1)[..., None]
        slope = torch.stack([slope_x.sum(3), slope_y.sum(3)], dim=1)
        grad_offset[read.rois] += (gamma * size * slope).to(grad_offset.dtype)
    shape = (maps.size(0), maps.size(2), maps.size(3), maps.size(1))
    grad_input.add_(total.view(shape).movedim(-1, 1))


def _reads(
    maps: Tensor,
    rois: Tensor,
    box: Box,
    offset: Tensor,
    bins: tuple[int, int],
    sampling_ratio: int,
    gamma: float,
) -> Iterator[_Read]:
    height, width = maps.shape[2:]
    for batch in sample_points(box, bins, sampling_ratio, 4 * maps.size(1)):
        y, x = batch.y.flatten(3), batch.x.flatten(3)
        if offset.numel():
            size = torch.stack([box.width[batch.rois], box.height[batch.rois]], dim=1)
            move = (gamma * size[..., None] * offset[batch.rois])[..., None]
            x, y = x + move[:, 0], y + move[:, 1]
        near = corners(y, x, height, width)
        image = rois[batch.rois, 0].long().view(-1, 1, 1, 1)
        yield _Read(batch.rois, y, x, near, near.place + image * (height * width))
