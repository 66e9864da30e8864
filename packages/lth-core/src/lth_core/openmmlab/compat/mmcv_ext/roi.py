"""Pooling of regions of interest: RoIAlign and RoIPool."""

import torch
from torch import Tensor

from lth_core.openmmlab.compat.mmcv_ext._regions import same_shape, sample_points, scaled_box
from lth_core.openmmlab.compat.mmcv_ext._tensors import corners, pixels_last, widen

__all__ = ["roi_align_backward", "roi_align_forward", "roi_pool_backward", "roi_pool_forward"]

_MAX = 0


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pools bilinear samples of each bin of each region.

    Args:
        input: Feature maps (N, C, H, W).
        rois: Shape (R, 5) as (image, x1, y1, x2, y2).
        output: Shape (R, C, aligned_height, aligned_width); overwritten. Bins without a sample
            give zero.
        argmax_y: In mode 0 of the shape of ``output``; overwritten with the row of the largest
            sample, -1 where there is none. Else empty.
        argmax_x: The same for the column.
        aligned_height: Bins per region, high.
        aligned_width: Bins per region, wide.
        spatial_scale: Pixels of the map per pixel of the image.
        sampling_ratio: Samples per bin and direction; 0 for as many as the bin has pixels.
        pool_mode: 0 takes the largest sample, 1 the mean.
        aligned: Whether pixel centres are at 0.5.
    """
    maps = widen(input)
    rois = rois.to(maps.dtype)
    if pool_mode != _MAX:
        bins = (aligned_height, aligned_width)
        output.copy_(
            torch.ops.torchvision.roi_align(
                maps, rois, spatial_scale, *bins, sampling_ratio, aligned
            )
        )
        return
    channels, height, width = maps.shape[1:]
    rows = pixels_last(maps)
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    box = scaled_box(rois, spatial_scale, aligned)
    for batch in sample_points(box, (aligned_height, aligned_width), sampling_ratio, 4 * channels):
        near = corners(batch.y, batch.x, height, width)
        image = rois[batch.rois, 0].long().view(-1, 1, 1, 1, 1)
        read = rows[near.place + image * (height * width)]
        values = (read * near.weight[..., None]).sum(0).flatten(3, 4)
        best, at = values.max(dim=3)
        output[batch.rois] = best.movedim(-1, 1).to(output.dtype)
        for argmax, place in ((argmax_y, batch.y), (argmax_x, batch.x)):
            places = place.flatten(3)[..., None].expand_as(values)
            chosen = places.gather(3, at.unsqueeze(3)).squeeze(3)
            argmax[batch.rois] = chosen.movedim(-1, 1).to(argmax.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Spreads the gradient of the bins over the pixels that they read.

    Args:
        grad_output: Shape (R, C, aligned_height, aligned_width).
        rois: As in the forward pass.
        argmax_y: As the forward pass left it.
        argmax_x: As the forward pass left it.
        grad_input: Shape (N, C, H, W); added to.
        aligned_height: As in the forward pass.
        aligned_width: As in the forward pass.
        spatial_scale: As in the forward pass.
        sampling_ratio: As in the forward pass.
        pool_mode: As in the forward pass.
        aligned: As in the forward pass.
    """
    grad = widen(grad_output)
    if pool_mode != _MAX:
        bins = (aligned_height, aligned_width)
        grad_input.add_(
            torch.ops.torchvision._roi_align_backward(
                grad,
                rois.to(grad.dtype),
                spatial_scale,
                *bins,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )
        return
    height, width = grad_input.shape[2:]
    near = corners(widen(argmax_y), widen(argmax_x), height, width)
    # mmcv marks an empty bin with -1, and so takes a sample exactly on row -1 for one, too.
    share = near.weight * (argmax_y != -1) * grad
    _scatter(grad_input, rois, near.place, share)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Takes the largest pixel of each bin of each region.

    This is not torchvision's ``roi_pool``, which rounds the corners of a region to whole pixels
    before it cuts the region into bins; mmcv cuts first and rounds the bins outwards.

    Args:
        input: Feature maps (N, C, H, W).
        rois: Shape (R, 5) as (image, x1, y1, x2, y2), with x2 and y2 the last pixel inside.
        output: Shape (R, C, pooled_height, pooled_width); overwritten. Empty bins give zero.
        argmax: The same shape, int32; overwritten with the place ``y * W + x`` of the largest
            pixel, the first of equals, -1 in empty bins.
        pooled_height: Bins per region, high.
        pooled_width: Bins per region, wide.
        spatial_scale: Pixels of the map per pixel of the image.
    """
    maps = widen(input)
    rois = rois.to(maps.dtype)
    channels, height, width = maps.shape[1:]
    rows = pixels_last(maps)
    x1, y1 = (rois[:, 1:3] * spatial_scale).unsqueeze(2).unbind(1)
    x2, y2 = ((rois[:, 3:] + 1) * spatial_scale).unsqueeze(2).unbind(1)
    top, bottom = _bin_edges(y1, y2 - y1, pooled_height, height)
    left, right = _bin_edges(x1, x2 - x1, pooled_width, width)
    output.zero_()
    argmax.fill_(-1)
    largest = torch.stack([(bottom - top).amax(1), (right - left).amax(1)], dim=1)
    largest[((y2 <= y1) | (x2 <= x1)).squeeze(1)] = 0
    for (high, wide), batch in same_shape(largest, pooled_height * pooled_width * channels):
        y = top[batch][..., None] + torch.arange(high, device=rois.device)
        x = left[batch][..., None] + torch.arange(wide, device=rois.device)
        y, in_y = y[:, :, None, :, None], (y < bottom[batch][..., None])[:, :, None, :, None]
        x, in_x = x[:, None, :, None, :], (x < right[batch][..., None])[:, None, :, None, :]
        place = y.clamp(max=height - 1) * width + x.clamp(max=width - 1)
        inside = (in_y & in_x).flatten(3)
        image = rois[batch, 0].long().view(-1, 1, 1, 1, 1)
        values = rows[place + image * (height * width)].flatten(3, 4)
        best, at = values.masked_fill(~inside[..., None], -torch.inf).max(dim=3)
        chosen = place.flatten(3).gather(3, at.flatten(3)).view_as(at)
        empty = ~inside.any(3, keepdim=True)
        output[batch] = best.masked_fill(empty, 0).movedim(-1, 1).to(output.dtype)
        argmax[batch] = chosen.masked_fill(empty, -1).movedim(-1, 1).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gives the gradient of each bin to the pixel that it took.

    Args:
        grad_output: Shape (R, C, pooled_height, pooled_width).
        rois: As in the forward pass.
        argmax: As the forward pass left it.
        grad_input: Shape (N, C, H, W); added to.
        pooled_height: Not needed, ``argmax`` tells.
        pooled_width: Not needed, ``argmax`` tells.
        spatial_scale: Not needed, ``argmax`` tells.
    """
    taken = argmax >= 0
    share = widen(grad_output) * taken
    _scatter(grad_input, rois, argmax.long().clamp(min=0)[None], share[None])


def _bin_edges(start: Tensor, size: Tensor, bins: int, limit: int) -> tuple[Tensor, Tensor]:
    """First pixel of each bin and the one after its last, int64 of shape (R, bins)."""
    edge = torch.arange(bins + 1, device=start.device).to(start) * (size / bins) + start
    first, behind = edge[:, :-1].floor(), edge[:, 1:].ceil()
    return first.clamp(0, limit).long(), behind.clamp(0, limit).long()


def _scatter(grad_input: Tensor, rois: Tensor, index: Tensor, share: Tensor) -> None:
    """Adds shares (K, R, C, ...) to the pixels (K, R, C, ...) of each region's image."""
    channels, height, width = grad_input.shape[1:]
    image = rois[:, 0].long().view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=rois.device).view(-1, 1, 1)
    flat = index + (image * channels + channel) * (height * width)
    total = share.new_zeros(grad_input.numel()).index_add_(0, flat.flatten(), share.flatten())
    grad_input.add_(total.view_as(grad_input))
