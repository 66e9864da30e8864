"""Batched changes of colours, as Pillow makes them.

mmcv's Pillow backend takes pictures for B, G, R, whatever they are; so does this.
"""

from __future__ import annotations

from typing import Any

import torch
from mmcv.transforms import RandomApply, RandomGrayscale
from mmpretrain.datasets.transforms import ColorJitter, Lighting, Solarize
from torch import Tensor

from lth_cls.fast.batched import BatchedTransform, Sequence, choose, stands_for
from lth_cls.fast.draws import Draws

_LUMA = (7471, 38470, 19595)
"""Pillow's weights of B, G and R, out of 65536."""


def grey(pixels: Tensor) -> Tensor:
    """Pillow's luma of ``(N, 3, H, W)`` whole numbers in B, G, R; ``(N, 1, H, W)``, exact."""
    blue, green, red = (pixels[:, [i]] * weight for i, weight in enumerate(_LUMA))
    return ((blue + green + red + 32768) / 65536).floor_()


def blend(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Pillow's ``factor * pixels + (1 - factor) * other``, cut to whole numbers in 0 ... 255."""
    return (other + factor * (pixels - other)).clamp_(0, 255).floor_()


def shift_hue(pixels: Tensor, shift: Tensor) -> Tensor:
    """Pillow's hue, saturation and value in bytes, and back, with the hue moved.

    Args:
        pixels: ``(N, 3, H, W)`` float32 whole numbers in B, G, R.
        shift: ``(N, 1, 1, 1)`` float32 whole numbers, to add to the hue modulo 256.
    """
    blue, green, red = (pixels[:, [i]] for i in range(3))
    value, least = pixels.amax(1, keepdim=True), pixels.amin(1, keepdim=True)
    spread = value - least
    per = 1 / spread.clamp(min=1)
    hue = torch.where(
        red == value,
        (green - blue) * per,
        torch.where(green == value, 2 + (blue - red) * per, 4 + (red - green) * per),
    )
    # Of bytes: a fraction of the circle, cut to 1 / 255.
    hue = ((hue / 6 + 1).remainder_(1) * 255 + 1e-3).floor_()
    saturation = (spread * 255 / value.clamp(min=1) + 1e-3).floor_() / 255
    sixths = (hue + shift).remainder_(256) * (6 / 255)
    bands = []
    for place in (1, 3, 5):  # B, G, R
        turn = (sixths + place).remainder_(6)
        part = torch.minimum(turn, 4 - turn).clamp_(0, 1)
        bands.append((value * (1 - saturation * part) + 0.5).floor_())
    moved = torch.cat(bands, 1)
    return torch.where(spread == 0, value, moved)


@stands_for(ColorJitter)
class BatchedColorJitter(BatchedTransform):
    """Brightness, contrast, saturation and hue, each picture's in an order of its own."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        if stock.backend != "pillow":
            raise self.refuse("backend", "'pillow'")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        order, factors, shift = self.parameters(len(images), draws)
        return jitter(images, order, factors, shift)

    def parameters(self, count: int, draws: Draws) -> tuple[Tensor, list[Tensor | None], Any]:
        """What each picture gets.

        Returns:
            ``(N, 4)`` int64 with the orders of brightness 0, contrast 1, saturation 2 and hue 3;
            the factors of the first three, ``(N,)`` each; the shift of the hue, ``(N,)`` whole
            numbers of 256. What is off is None.
        """
        stock, order = self.stock, draws.orders(count, 4)
        factors: list[Tensor | None] = []
        for limits in (stock.brightness, stock.contrast, stock.saturation):
            drawn = draws.uniform(count)
            factors.append(None if limits is None else _between(drawn, limits).float())
        drawn = draws.uniform(count)
        shift = None if stock.hue is None else (_between(drawn, stock.hue) * 255).trunc().float()
        return order, factors, shift


def _between(drawn: Tensor, limits: tuple[float, float]) -> Tensor:
    low, high = (float(limit) for limit in limits)
    return drawn * (high - low) + low


def jitter(
    images: Tensor, order: Tensor, factors: list[Tensor | None], shift: Tensor | None
) -> Tensor:
    """Jittered colours; see :meth:`BatchedColorJitter.parameters`.

    The hue, which takes most of the work, is moved once, for all pictures together: before it
    each picture gets what stands before it in its order, and afterwards the rest.
    """
    pixels = images.float()
    one = torch.ones(len(images), device=images.device)
    whole = torch.stack([one if factor is None else factor for factor in factors], 1)
    hue = (order == 3).long().argmax(1)
    places = range(4)
    for place in places[:3]:
        pixels = _blend_at(pixels, order[:, place], whole, hue > place)
    if shift is not None:
        pixels = shift_hue(pixels, shift.view(-1, 1, 1, 1))
    for place in places[1:]:
        pixels = _blend_at(pixels, order[:, place], whole, hue < place)
    return pixels.to(torch.uint8)


def _blend_at(pixels: Tensor, kind: Tensor, factors: Tensor, active: Tensor) -> Tensor:
    """One of brightness, contrast and saturation, of those pictures whose turn it is."""
    chosen = factors.gather(1, kind.clamp(max=2)[:, None])[:, 0]
    factor = torch.where(active, chosen, torch.ones_like(chosen)).view(-1, 1, 1, 1)
    luma = grey(pixels)
    mean = (luma.mean((1, 2, 3), keepdim=True) + 0.5).floor_()
    kind = kind.view(-1, 1, 1, 1)
    other = torch.where(kind == 2, luma, mean * (kind == 1))
    return blend(pixels, other, factor)


@stands_for(RandomGrayscale)
class BatchedRandomGrayscale(BatchedTransform):
    """Some pictures without their colours."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        if not stock.keep_channels:
            raise self.refuse("keep_channels", "True: pictures of a batch have as many channels")
        if stock.color_format == "hsv":
            raise self.refuse("color_format", "'bgr' or 'rgb'")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        chosen = draws.chance(len(images), self.stock.prob)
        if images.shape[1] == 1:
            return images
        return choose(chosen, self.grey(images).expand_as(images), images)

    def grey(self, images: Tensor) -> Tensor:
        """``(N, 1, H, W)`` uint8: the weighted sum of the channels, cut as mmcv does."""
        shares = self.stock.channel_weights
        total, found = sum(shares), 0.0
        for channel, share in enumerate(shares):
            found = images[:, [channel]].to(torch.float64) * (share / total) + found
        return found.to(torch.uint8)  # type: ignore[attr-defined]


class _Magnitude(BatchedTransform):
    """Base of what mmpretrain draws a magnitude for, and applies to some pictures."""

    def drawn(self, count: int, draws: Draws, fixed: float | None) -> tuple[Tensor, Tensor]:
        """Which pictures are changed, and by how much, each ``(N,)``."""
        stock = self.stock
        chosen, numbers = draws.chance(count, stock.prob), draws.uniform(count)
        normal = draws.normal(count)
        if fixed is not None:
            return chosen, torch.zeros_like(numbers) + fixed
        level = torch.zeros_like(numbers) + stock.magnitude_level
        if stock.magnitude_std == "inf":
            level = numbers * stock.magnitude_level
        elif stock.magnitude_std > 0:
            level = (level + normal * stock.magnitude_std).clamp(0, stock.total_level)
        first, last = stock.magnitude_range
        return chosen, level / stock.total_level * (last - first) + first


@stands_for(Solarize)
class BatchedSolarize(_Magnitude):
    """Bright pixels turned to their negative, in some pictures."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        chosen, threshold = self.drawn(len(images), draws, self.stock.thr)
        bright = images >= threshold.view(-1, 1, 1, 1)
        return torch.where(bright & chosen.view(-1, 1, 1, 1), 255 - images, images)


@stands_for(Lighting)
class BatchedLighting(BatchedTransform):
    """Colours moved along the principal components of a data set's."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        if stock.to_rgb:
            raise self.refuse("to_rgb", "False")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        moved = images.float()
        alpha = (draws.normal(len(images), len(self.stock.eigval)) * self.stock.alphastd).float()
        for channel, vector in enumerate(self.stock.eigvec.tolist()):
            values = zip(vector, self.stock.eigval.tolist(), strict=True)
            shift = sum(alpha[:, i] * (a * b) for i, (a, b) in enumerate(values))
            moved[:, channel] += shift.view(-1, 1, 1)
        # numpy's cast of negative numbers and of those above 255 wraps around.
        return moved.to(torch.int32).to(torch.uint8)


@stands_for(RandomApply)
class BatchedRandomApply(BatchedTransform):
    """Transforms for some of the pictures."""

    def __init__(self, stock: Any) -> None:
        super().__init__(stock)
        self.inner = Sequence(stock.transforms.transforms)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See :class:`~lth_cls.fast.batched.Batched`."""
        chosen = draws.chance(len(images), self.stock.prob)
        return choose(chosen, self.inner(images, draws), images)
