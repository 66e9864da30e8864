"""Overlaps of axis-parallel boxes."""

import torch
from torch import Tensor

__all__ = ["bbox_overlaps"]

_IOU = 0


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Computes the overlap of pairs of boxes.

    Args:
        bboxes1: Shape (M, 4) as (x1, y1, x2, y2).
        bboxes2: Shape (N, 4), or (M, 4) with ``aligned``.
        ious: Shape (M, N), or (M,) with ``aligned``; overwritten.
        mode: 0 divides the intersection by the union, 1 by the area of the first box.
        aligned: Pairs row by row, instead of each with each.
        offset: 0, or 1 where x2 and y2 name the last pixel inside the box.
    """
    one, two = (bboxes1, bboxes2) if aligned else (bboxes1[:, None], bboxes2)
    low = torch.maximum(one[..., :2], two[..., :2])
    high = torch.minimum(one[..., 2:], two[..., 2:])
    inter = (high - low + offset).clamp(min=0).prod(-1)
    base = (one[..., 2:] - one[..., :2] + offset).prod(-1)
    if mode == _IOU:
        base = base + (two[..., 2:] - two[..., :2] + offset).prod(-1) - inter
    ious.copy_(inter / base)
