"""Random numbers of one batch, drawn on its device from a seed of its own."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """The random stream of a batch: the same seed, the same numbers, whatever else draws.

    Nothing of it makes the host wait for the device.

    Args:
        seed: Where the stream begins, 63 bits.
        device: Where the numbers are made. CPU and GPU have different streams.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float64 numbers, uniform from ``low`` up to ``high``."""
        drawn = torch.rand(shape, generator=self.generator, device=self.device, dtype=torch.float64)
        return drawn * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Float64 numbers of mean 0 and standard deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=torch.float64)

    def below(self, bound: Tensor) -> Tensor:
        """Whole numbers from 0 up to, without, ``bound`` (int64, from 1), each as likely."""
        return (self.uniform(*bound.shape) * bound).long()

    def chance(self, count: int, probability: float) -> Tensor:
        """``(count,)`` booleans, each True with ``probability``."""
        return self.uniform(count) < probability

    def orders(self, count: int, length: int) -> Tensor:
        """``(count, length)`` int64: each row an order of ``0 ... length - 1``."""
        return self.uniform(count, length).argsort(dim=1)
