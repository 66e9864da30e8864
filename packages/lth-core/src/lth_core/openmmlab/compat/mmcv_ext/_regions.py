"""Regions of interest cut into bins of sample points, in batches of equal shape."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Numbers that one batch may gather at once: 64 MiB of float32.
_BATCH = 1 << 24


class Box(NamedTuple):
    """Regions in pixels of the feature map, each field of shape (R, 1)."""

    y: Tensor
    x: Tensor
    height: Tensor
    width: Tensor


def scaled_box(rois: Tensor, spatial_scale: float, aligned: bool) -> Box:
    """Brings RoIs (R, 5) of (image, x1, y1, x2, y2) to the scale of the feature map.

    Args:
        rois: Shape (R, 5).
        spatial_scale: Pixels of the map per pixel of the image.
        aligned: True for pixels whose centre is at 0.5; False for the older way, whose centre is
            at 0 and in which no region is smaller than one pixel.
    """
    x1, y1, x2, y2 = (
        (rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)).unsqueeze(2).unbind(1)
    )
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = height.clamp(min=1), width.clamp(min=1)
    return Box(y1, x1, height, width)


class Samples(NamedTuple):
    """The sample points of a batch of regions."""

    rois: Tensor  # (B,) int64, which regions
    y: Tensor  # (B, bins high, bins wide, points high, points wide)
    x: Tensor  # the same shape


def sample_points(
    box: Box, bins: tuple[int, int], sampling_ratio: int, reads: int
) -> Iterator[Samples]:
    """Spreads points evenly over the bins of each region.

    Args:
        box: The regions.
        bins: Bins per region, high and wide.
        sampling_ratio: Points per bin and direction, or 0 for one per pixel, rounded up.
        reads: Numbers read per point, which bounds the batches.

    Yields:
        Batches of regions with equally many points. Regions that get no points are left out.
    """
    if sampling_ratio > 0:
        grid = torch.full((len(box.y), 2), sampling_ratio, device=box.y.device)
    else:
        per_bin = torch.cat([box.height / bins[0], box.width / bins[1]], dim=1)
        grid = per_bin.ceil().long()
    bin_height, bin_width = box.height / bins[0], box.width / bins[1]
    for (high, wide), rois in same_shape(grid, bins[0] * bins[1] * reads):
        y = _centres(box.y[rois], bin_height[rois], bins[0], high)
        x = _centres(box.x[rois], bin_width[rois], bins[1], wide)
        full = (len(rois), *bins, high, wide)
        yield Samples(
            rois, y[:, :, None, :, None].expand(full), x[:, None, :, None, :].expand(full)
        )


def _centres(start: Tensor, size: Tensor, bins: int, points: int) -> Tensor:
    """Positions (B, bins, points) of points in bins that begin at ``start`` (B, 1)."""
    cell = torch.arange(bins, device=start.device).to(start)[:, None]
    point = torch.arange(points, device=start.device).to(start) + 0.5
    start, size = start[..., None], size[..., None]
    return start + cell * size + point * size / points


def same_shape(shape: Tensor, weight: int) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Sorts items by a shape of their own into batches that fit in memory.

    Args:
        shape: Height and width of each item, int64 of shape (R, 2). Items without area are skipped.
        weight: Numbers per unit of an item's area.

    Yields:
        The shape of a batch, and the positions of its items, int64 of shape (B,).
    """
    shapes, which = shape.unique(dim=0, return_inverse=True)
    for group, (high, wide) in enumerate(shapes.tolist()):
        if high <= 0 or wide <= 0:
            continue
        items = (which == group).nonzero().squeeze(1)
        for batch in items.split(max(1, _BATCH // (weight * high * wide))):
            yield (high, wide), batch
