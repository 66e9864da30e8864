"""Batched Gaussian blur, as Pillow makes it, and erased rectangles."""

from __future__ import annotations

import math

import torch
from mmpretrain.datasets.transforms import GaussianBlur, RandomErasing
from torch import Tensor

from lth_cls.fast.batched import BatchedTransform, stands_for
from lth_cls.fast.colour import _Magnitude
from lth_cls.fast.draws import Draws
from lth_cls.fast.resampling import apply_along

_PASSES = 3
"""Box blurs by which Pillow approaches a Gaussian one."""


def box_radius(sigma: Tensor) -> Tensor:
    """Radius of the box of which three in a row have the standard deviation ``sigma``."""
    variance = sigma * sigma / _PASSES
    whole = (((variance * 12 + 1).sqrt() - 1) / 2).floor()
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return whole + edge / (6 * (variance - (whole + 1) ** 2))


def blur_weights(sigma: Tensor, size: int) -> Tensor:
    """Matrices that blur an axis.

    Args:
        sigma: ``(N,)`` float64, in pixels; 0 for no blur.
        size: Of the axis.

    Returns:
        ``(N, size, size)`` float32. Beyond the ends, the end pixels go on.
    """
    radius = box_radius(sigma).view(-1, 1, 1)
    places = torch.arange(size, device=sigma.device)
    distance = (places[:, None] - places).abs()
    box = (radius + 1 - distance).clamp(0, 1)
    box = box + (radius - places[:, None]).clamp(min=0) * (places == 0)
    box = box + (radius - (size - 1 - places[:, None])).clamp(min=0) * (places == size - 1)
    box = (box / (2 * radius + 1)).float()
    return box @ box @ box


@stands_for(GaussianBlur)
class BatchedGaussianBlur(_Magnitude):
    """Some pictures blurred."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        chosen, sigma = self.drawn(len(images), draws, self.stock.radius)
        return blur(images, sigma * chosen)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Pictures ``(N, C, H, W)`` uint8, blurred by ``sigma`` ``(N,)`` pixels."""
    rows, columns = (blur_weights(sigma, size) for size in images.shape[2:])
    return apply_along(rows, columns, images, whole=True)


@stands_for(RandomErasing)
class BatchedRandomErasing(BatchedTransform):
    """Some pictures with a rectangle of one colour, or of noise, in them."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        stock, (count, _, height, width) = self.stock, images.shape
        chosen = draws.chance(count, stock.erase_prob)
        top, left, tall, wide = self.patches(images, draws)
        rows = torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device)
        down = (rows >= top[:, None]) & (rows < (top + tall)[:, None]) & chosen[:, None]
        along = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        inside = (down[:, :, None] & along[:, None])[:, None]
        return torch.where(inside, self._filling(images, draws), images)

    def patches(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Top, left, height and width of the rectangles, each ``(N,)`` int64."""
        stock, (count, _, height, width) = self.stock, images.shape
        low, high = (math.log(ratio) for ratio in stock.aspect_range)
        ratio = draws.uniform(count, low=low, high=high).exp()
        low, high = stock.min_area_ratio, stock.max_area_ratio
        area = draws.uniform(count, low=low, high=high) * (height * width)
        tall = (area * ratio).sqrt().round().long().clamp(max=height)
        wide = (area / ratio).sqrt().round().long().clamp(max=width)
        top = draws.below((height - tall).clamp(min=1))
        left = draws.below((width - wide).clamp(min=1))
        return top, left, tall, wide

    def _filling(self, images: Tensor, draws: Draws) -> Tensor:
        stock = self.stock
        if stock.mode == "const":
            bands = [torch.full_like(images[:1, :1], int(c) % 256) for c in stock.fill_color]
            return torch.cat(bands, 1)
        if stock.fill_std is None:
            return (draws.uniform(*images.shape) * 256).to(torch.uint8)
        noise = draws.normal(*images.shape)
        for channel, (mean, std) in enumerate(zip(stock.fill_color, stock.fill_std, strict=True)):
            noise[:, channel] = noise[:, channel] * std + mean
        return noise.trunc().clamp(0, 255).to(torch.uint8)
