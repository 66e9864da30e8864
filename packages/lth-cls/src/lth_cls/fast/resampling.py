"""Resizing boxes of pictures by one matrix along each axis, for whole batches at once.

Interpolation is linear and separable: an output pixel is a weighted sum of input pixels along each
axis. So every box, filter and edge rule is a matrix ``(out, in)`` for each picture and axis, and a
batch is two batched matrix products, which GPUs do best. ``F.grid_sample`` would read beyond the
box at its edges and knows no antialiasing; kornia's and torchvision's crops take one box for all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lth_cls.fast.batched import to_bytes


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(a: float) -> Callable[[Tensor], Tensor]:
    def weigh(x: Tensor) -> Tensor:
        x = x.abs()
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))

    return weigh


FILTERS: dict[tuple[str, str], tuple[Callable[[Tensor], Tensor], float]] = {
    ("pillow", "bilinear"): (_triangle, 1.0),
    ("pillow", "bicubic"): (_cubic(-0.5), 2.0),
    ("cv2", "bilinear"): (_triangle, 1.0),
    ("cv2", "bicubic"): (_cubic(-0.75), 2.0),
}
"""Kernel and its half width by backend and interpolation. Pillow widens it where it shrinks."""


def weights(
    start: Tensor, length: Tensor, size: int, out: int, backend: str, interpolation: str
) -> Tensor:
    """Matrices that resize a stretch of an axis.

    Args:
        start: ``(N,)`` int64, where the stretches begin.
        length: ``(N,)`` int64, how long they are.
        size: Of the axis.
        out: How long they become.
        backend: ``"pillow"``, which antialiases and leaves out weights beyond the stretch, or
            ``"cv2"``, which does not antialias and repeats the pixels at its ends.
        interpolation: ``"bilinear"`` or ``"bicubic"``.

    Returns:
        ``(N, out, size)`` float32, rows of sum 1.
    """
    kernel, half = FILTERS[backend, interpolation]
    wide = length.to(torch.float64)[:, None]
    scale = wide / out
    ends = torch.arange(out, device=start.device, dtype=torch.float64)
    centres = (ends + 0.5) * scale
    pixels = torch.arange(size, device=start.device) - start[:, None]
    inside = (pixels >= 0) & (pixels < length[:, None])
    if backend == "pillow":
        spread = scale.clamp(min=1.0)
        # Pillow takes whole pixels of which the centre is within the kernel's reach.
        first = (centres - half * spread + 0.5).floor().clamp(min=0)
        last = torch.minimum((centres + half * spread + 0.5).floor(), wide)
        within = (pixels[:, None] >= first[..., None]) & (pixels[:, None] < last[..., None])
        found = kernel((pixels[:, None] + 0.5 - centres[..., None]) / spread[..., None])
        found = torch.where(within & inside[:, None], found, torch.zeros_like(found))
        return (found / found.sum(2, keepdim=True)).float()
    distance = pixels[:, None] + 0.5 - centres[..., None]
    found = torch.where(inside[:, None], kernel(distance), torch.zeros_like(distance))
    # What the kernel reaches beyond the ends counts for the end pixels.
    for beyond in range(1, int(half) + 1):
        before = kernel(0.5 - beyond - centres)[..., None] * (pixels == 0)[:, None]
        after = kernel(wide - 0.5 + beyond - centres)[..., None]
        found = found + before + after * (pixels == length[:, None] - 1)[:, None]
    return found.float()


def apply_along(rows: Tensor, columns: Tensor, images: Tensor, whole: bool) -> Tensor:
    """uint8 pictures, resampled along both axes.

    Args:
        rows: ``(N, h, H)``.
        columns: ``(N, w, W)``.
        images: ``(N, C, H, W)`` uint8.
        whole: Whether the pixels are bytes in between, as Pillow's are.

    Returns:
        ``(N, C, h, w)`` uint8.
    """
    pixels = torch.matmul(images.float(), columns.transpose(1, 2)[:, None])
    if whole:
        pixels = pixels.add_(0.5).floor_().clamp_(0, 255)
    return to_bytes(torch.matmul(rows[:, None], pixels))


def resize_boxes(
    images: Tensor,
    boxes: tuple[Tensor, Tensor, Tensor, Tensor],
    shape: tuple[int, int],
    backend: str = "cv2",
    interpolation: str = "bilinear",
) -> Tensor:
    """A box of each picture, resized to one shape.

    Args:
        images: ``(N, C, H, W)`` uint8.
        boxes: Top, left, height and width, each ``(N,)`` int64.
        shape: Height and width of the result.
        backend: See :func:`weights`.
        interpolation: ``"bilinear"``, ``"bicubic"`` or, of cv2, ``"nearest"``.

    Returns:
        ``(N, C, *shape)`` uint8.
    """
    top, left, height, width = boxes
    if interpolation == "nearest":
        rows = top[:, None] + _nearest(height, shape[0])
        return gather(images, rows, left[:, None] + _nearest(width, shape[1]))
    rows = weights(top, height, images.shape[2], shape[0], backend, interpolation)
    columns = weights(left, width, images.shape[3], shape[1], backend, interpolation)
    return apply_along(rows, columns, images, whole=backend == "pillow")


def _nearest(length: Tensor, out: int) -> Tensor:
    places = torch.arange(out, device=length.device, dtype=torch.float64)
    return (places * (length[:, None].to(torch.float64) / out)).floor().long()


def gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Rows and columns of each picture, each by its own numbers.

    Args:
        images: ``(N, C, H, W)``.
        rows: ``(N, h)`` int64.
        columns: ``(N, w)`` int64.

    Returns:
        ``(N, C, h, w)``.
    """
    count, channels, height, width = images.shape
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    flat = images.reshape(count, channels, height * width)
    found = flat.gather(2, places[:, None].expand(-1, channels, -1))
    return found.view(count, channels, rows.shape[1], columns.shape[1])
