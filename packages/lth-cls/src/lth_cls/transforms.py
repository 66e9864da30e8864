"""Augmentation for the embedded digits."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomDigitView:
    """Redraws a digit as it could stand in a scene: moved, turned, resized, coloured, noisy.

    One pass over the pixels does what a chain of five general transforms would do; a training
    of a few seconds notices the difference. Modifies ``img``.

    Args:
        scale: Smallest and largest factor on the digit's size.
        shift: Largest shift along each axis, as a fraction of the image's size.
        angle: Largest turn to either side, in degrees.
        paper: Darkest and brightest channel of the background, out of 255.
        contrast: How much brighter the ink is at least, in the mean of its channels.
        noise: Standard deviation of the pixel noise, out of 255.
        fixed: Whether a digit is drawn alike every time, by its position in the data set; for
            tests, which are then the same for all that are compared.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.65, 1.15),
        shift: float = 0.1,
        angle: float = 10.0,
        paper: tuple[float, float] = (20.0, 140.0),
        contrast: float = 80.0,
        noise: float = 5.0,
        fixed: bool = False,
    ) -> None:
        self.scale = scale
        self.shift = shift
        self.angle = angle
        self.paper = paper
        self.contrast = contrast
        self.noise = noise
        self.fixed = fixed

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces the ``(H, W, 3)`` uint8 image of three equal channels."""
        grey = results["img"][..., 0]
        size = len(grey)
        # mmengine seeds numpy's global stream; a stream of its own would not follow it.
        random: Any = np.random.RandomState(results["sample_idx"]) if self.fixed else np.random
        matrix = cv2.getRotationMatrix2D(
            ((size - 1) / 2, (size - 1) / 2),
            random.uniform(-self.angle, self.angle),
            random.uniform(*self.scale),
        )
        matrix[:, 2] += random.uniform(-self.shift, self.shift, 2) * size
        ink = cv2.warpAffine(grey, matrix, (size, size))
        paper = random.uniform(*self.paper, 3)
        while True:
            colour = random.uniform(50.0, 255.0, 3)
            if colour.mean() - paper.mean() >= self.contrast:
                break
        picture = paper + ink[..., None] * ((colour - paper) / 255)
        picture += random.normal(0.0, self.noise, picture.shape)
        results["img"] = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
        return results
