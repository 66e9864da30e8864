"""What several families of operators share: number types and bilinear reading."""

from typing import NamedTuple

import torch
from torch import Tensor

# The smallest normal float32. mmcv clamps probabilities and sums to it whatever the number type.
FLT_MIN = torch.finfo(torch.float32).tiny


def widen(tensor: Tensor) -> Tensor:
    """Half precision as float32, everything else as it is.

    torchvision does the same under autocast: its kernels do not take bfloat16 at all, and float16
    cannot tell neighbouring coordinates of a large image apart.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def pixels_last(maps: Tensor) -> Tensor:
    """Feature maps (N, C, H, W) as one row of channels per pixel, (N * H * W, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.size(1))


class Corners(NamedTuple):
    """The four pixels around each point, in the order (low, low), (low, high), (high, ...)."""

    place: Tensor  # (4, ...) int64, y * width + x
    weight: Tensor  # (4, ...), zero for points outside the map
    y: tuple[Tensor, Tensor]  # rows below and above, each (...)
    x: tuple[Tensor, Tensor]  # columns left and right, each (...)
    inside: Tensor  # (...) bool


def corners(y: Tensor, x: Tensor, height: int, width: int) -> Corners:
    """Finds the pixels and weights with which mmcv's RoI operators read a map at real points.

    Points up to one pixel outside read the nearest border pixel, points further out read zero.

    Args:
        y: Rows, of any shape, 0 at the centre of the first one.
        x: Columns, of a shape that broadcasts with ``y``.
        height: Rows of the map.
        width: Columns of the map.
    """
    y, x = torch.broadcast_tensors(y, x)
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    # Points outside get a harmless place, since not every number fits an index.
    y, y_low, y_high = _along(torch.where(inside, y, 0), height)
    x, x_low, x_high = _along(torch.where(inside, x, 0), width)
    above, right = y - y_low, x - x_low
    below, left = 1 - above, 1 - right
    weight = torch.stack([below * left, below * right, above * left, above * right]) * inside
    place = torch.stack(
        [
            y_low * width + x_low,
            y_low * width + x_high,
            y_high * width + x_low,
            y_high * width + x_high,
        ]
    )
    return Corners(place, weight, (y_low, y_high), (x_low, x_high), inside)


def _along(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    at = at.clamp(0, size - 1)
    low = at.floor().long()
    return at, low, (low + 1).clamp(max=size - 1)
