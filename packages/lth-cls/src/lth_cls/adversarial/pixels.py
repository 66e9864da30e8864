"""The way from a model's inputs to pixels from 0 to 1, where attacks live, and back."""

from __future__ import annotations

import torch
from lth_core.errors import ConfigError
from torch import Tensor, nn

WHITE = 255.0
"""The highest value of a pixel as OpenMMLab's pipelines load it."""

SLACK = 1e-3
"""How far rounding may carry a pixel of the pipeline out of [0, 1], generously."""


class PixelSpace:
    """Takes off the normalisation of an OpenMMLab data preprocessor, and puts it on again.

    Both ways are differentiable. The order of channels is the network's, after the preprocessor
    has turned it round, if it does.

    Args:
        data_preprocessor: The model's, with or without ``mean`` and ``std`` (out of 255). They are
            looked up at each use, since they move between devices.
    """

    def __init__(self, data_preprocessor: nn.Module) -> None:
        self._preprocessor = data_preprocessor

    def to_pixels(self, inputs: Tensor) -> Tensor:
        """Pixels ``(N, C, H, W)`` of a batch as the model gets it; 0 is black and 1 is white."""
        mean, std = self._normalisation(inputs)
        return inputs * (std / WHITE) + mean / WHITE

    def to_inputs(self, pixels: Tensor) -> Tensor:
        """The batch that the model gets for pixels ``(N, C, H, W)``."""
        mean, std = self._normalisation(pixels)
        return pixels * (WHITE / std) - mean / std

    def check(self, pixels: Tensor) -> None:
        """Refuses pixels that do not run from 0 to 1, so that a wrong scale is not attacked.

        Raises:
            ConfigError: If they leave [0, 1], or come nowhere near 1 as if they were out of 1.
        """
        low, high = pixels.min().item(), pixels.max().item()
        if low < -SLACK or high > 1 + SLACK:
            raise ConfigError(
                f"the pixels to attack run from {low:.3g} to {high:.3g}, not from 0 to 1; "
                "normalise in model.data_preprocessor (mean and std out of 255), not in the "
                "pipeline"
            )
        if 0 < high <= 1 / WHITE * (1 + SLACK):
            raise ConfigError(
                f"the pixels to attack reach {high:.3g} at most, as if white were 1 before "
                "model.data_preprocessor; let the pipeline give pixels from 0 to 255"
            )

    def _normalisation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = getattr(self._preprocessor, "mean", None)
        std = getattr(self._preprocessor, "std", None)
        if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
            return like.new_zeros(()), like.new_ones(())
        return mean.to(like.device, torch.float32), std.to(like.device, torch.float32)
