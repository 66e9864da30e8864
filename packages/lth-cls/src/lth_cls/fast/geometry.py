"""Batched crops, flips and resizes."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmcv.transforms import CenterCrop, RandomFlip, Resize
from mmpretrain.datasets.transforms import RandomCrop, RandomResizedCrop, ResizeEdge
from torch import Tensor
from torch.nn import functional as F

from lth_cls.fast.batched import BatchedTransform, choose, stands_for
from lth_cls.fast.draws import Draws
from lth_cls.fast.resampling import FILTERS, gather, resize_boxes

Boxes = tuple[Tensor, Tensor, Tensor, Tensor]
"""Top, left, height and width of boxes, each ``(N,)`` int64."""

_MODES = {"edge": "replicate", "reflect": "reflect"}


@stands_for(RandomCrop)
class BatchedRandomCrop(BatchedTransform):
    """Crops of one size at random places, after padding."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        if stock.pad_if_needed and stock.padding_mode == "symmetric":
            raise self.refuse("padding_mode", "'constant', 'edge' or 'reflect'")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        stock, (high, wide) = self.stock, self.stock.crop_size
        if stock.padding is not None:
            images = _pad(images, _sides(stock.padding), stock.pad_val)
        if stock.pad_if_needed:
            x = math.ceil(max(0, wide - images.shape[3]) / 2)
            y = math.ceil(max(0, high - images.shape[2]) / 2)
            images = _pad(images, (x, y, x, y), stock.pad_val, stock.padding_mode)
        high, wide = min(high, images.shape[2]), min(wide, images.shape[3])
        return crop(images, *self.offsets(images, draws), high, wide)

    def offsets(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Top and left of the crops of padded pictures, each ``(N,)`` int64."""
        count, _, height, width = images.shape
        room = [
            max(0, full - part)
            for full, part in zip((height, width), self.stock.crop_size, strict=True)
        ]
        top, left = ((draws.uniform(count) * (places + 1)).long() for places in room)
        return top, left


def _sides(padding: Any) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a padding as mmcv writes it."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    sides = tuple(padding)
    return sides * 2 if len(sides) == 2 else sides


def _pad(
    images: Tensor, sides: tuple[int, int, int, int], value: Any, mode: str = "constant"
) -> Tensor:
    left, top, right, bottom = sides
    around = (left, right, top, bottom)
    if not any(around):
        return images
    if mode != "constant":  # torch pads no bytes so
        return F.pad(images.float(), around, _MODES[mode]).to(images.dtype)
    if isinstance(value, (int, float)):
        return F.pad(images, around, value=value)
    parts = [F.pad(images[:, [i]], around, value=each) for i, each in enumerate(value)]
    return torch.cat(parts, 1)


def crop(images: Tensor, top: Tensor, left: Tensor, high: int, wide: int) -> Tensor:
    """Boxes of one size, at ``top`` and ``left`` of each picture."""
    rows = top[:, None] + torch.arange(high, device=images.device)
    columns = left[:, None] + torch.arange(wide, device=images.device)
    return gather(images, rows, columns)


@stands_for(RandomFlip)
class BatchedRandomFlip(BatchedTransform):
    """Flips along one of several directions."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        self.directions = [stock.direction] if isinstance(stock.direction, str) else stock.direction
        share = stock.prob
        count = len(self.directions)
        self.shares = share if isinstance(share, list) else [share / count] * count

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        drawn, low = draws.uniform(len(images)), 0.0
        for direction, share in zip(self.directions, self.shares, strict=True):
            axes = {"horizontal": [3], "vertical": [2], "diagonal": [2, 3]}[direction]
            chosen = (drawn >= low) & (drawn < low + share)
            images = choose(chosen, images.flip(axes), images)
            low += share
        return images


class _Resampling(BatchedTransform):
    """Base of what resizes."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        kinds = [name for backend, name in FILTERS if backend == stock.backend]
        kinds += ["nearest"] * (stock.backend == "cv2")
        if stock.interpolation not in kinds:
            raise self.refuse("interpolation", f"one of {', '.join(kinds)}")

    def resize(self, images: Tensor, boxes: Boxes, shape: tuple[int, int]) -> Tensor:
        """Boxes of the pictures, resized to height and width ``shape``."""
        return resize_boxes(images, boxes, shape, self.stock.backend, self.stock.interpolation)

    def resize_whole(self, images: Tensor, shape: tuple[int, int]) -> Tensor:
        """The pictures, resized to height and width ``shape``."""
        count, _, height, width = images.shape
        zero = torch.zeros(count, dtype=torch.long, device=images.device)
        return self.resize(images, (zero, zero, zero + height, zero + width), shape)


@stands_for(RandomResizedCrop)
class BatchedRandomResizedCrop(_Resampling):
    """Crops of random area and aspect ratio, resized to one size."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        high, wide = self.stock.scale
        return self.resize(images, self.boxes(images, draws), (high, wide))

    def boxes(self, images: Tensor, draws: Draws) -> Boxes:
        """The boxes to crop: the first attempt that fits, or the middle after the last one."""
        stock, (count, _, height, width) = self.stock, images.shape
        tries = (count, stock.max_attempts)
        low, high = stock.crop_ratio_range
        area = draws.uniform(*tries, low=low, high=high) * (height * width)
        low, high = (math.log(ratio) for ratio in stock.aspect_ratio_range)
        ratio = draws.uniform(*tries, low=low, high=high).exp()
        wide = (area * ratio).sqrt().round().long()
        tall = (area / ratio).sqrt().round().long()
        fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
        first = fits & (fits.cumsum(1) == 1)
        chosen = first.any(1)
        middle_tall, middle_wide = self._middle(height, width)
        tall = (tall * first).sum(1) + middle_tall * ~chosen
        wide = (wide * first).sum(1) + middle_wide * ~chosen
        top = torch.where(chosen, draws.below(height - tall + 1), (height - tall) // 2)
        left = torch.where(chosen, draws.below(width - wide + 1), (width - wide) // 2)
        return top, left, tall, wide

    def _middle(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is taken when no attempt fits."""
        least, most = min(self.stock.aspect_ratio_range), max(self.stock.aspect_ratio_range)
        if width / height < least:
            return round(width / least), width
        if width / height > most:
            return height, round(height * most)
        return height, width


@stands_for(Resize)
class BatchedResize(_Resampling):
    """Resizes to one size."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        if stock.keep_ratio:
            raise self.refuse("keep_ratio", "False")
        if stock.scale is None:
            raise self.refuse("scale", "width and height in pixels")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        wide, high = self.stock.scale
        return self.resize_whole(images, (high, wide))


@stands_for(ResizeEdge)
class BatchedResizeEdge(_Resampling):
    """Resizes one edge to a length, the other in proportion."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        (height, width), edge, scale = images.shape[2:], self.stock.edge, self.stock.scale
        by_width = {"short": width < height, "long": width > height}.get(edge, edge == "width")
        shape = (
            (int(scale * height / width), scale)
            if by_width
            else (scale, int(scale * width / height))
        )
        return self.resize_whole(images, shape)


@stands_for(CenterCrop)
class BatchedCenterCrop(BatchedTransform):
    """The middle of the pictures."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        if stock.auto_pad:
            raise self.refuse("auto_pad", "False")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        height, width = images.shape[2:]
        wide, high = (
            min(*pair) for pair in zip(self.stock.crop_size, (width, height), strict=True)
        )
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return images[:, :, top : top + high, left : left + wide]
