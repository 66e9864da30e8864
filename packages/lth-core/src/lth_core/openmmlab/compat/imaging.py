"""mmcv's ``adjust_hue`` under numpy 2 and Pillow 13.

It casts a negative shift to uint8, which numpy 2 refuses or warns of, and passes Pillow a ``mode``
that is deprecated. mmpretrain's ColorJitter calls it, and with it SimCLR's and MoCo's views.
"""

from __future__ import annotations

import cv2
import mmcv
import mmcv.image.photometric as photometric
import numpy as np
from PIL import Image


def install() -> None:
    """Replaces ``adjust_hue`` wherever mmcv exports it."""
    for module in (photometric, mmcv.image, mmcv):
        module.adjust_hue = adjust_hue


def adjust_hue(img: np.ndarray, hue_factor: float, backend: str | None = None) -> np.ndarray:
    """Shifts the hue of an image around the circle; same arguments and results as mmcv's.

    Args:
        img: BGR image, (H, W, 3), uint8 (``cv2`` also takes other types, by way of uint8).
        hue_factor: Shift as a fraction of the circle, in [-0.5, 0.5].
        backend: ``"cv2"``, ``"pillow"`` or None for mmcv's current one.

    Returns:
        Image of the same shape and dtype.

    Raises:
        ValueError: If ``hue_factor`` or ``backend`` is out of range.
        TypeError: If ``img`` is no image.
    """
    backend = backend or photometric.imread_backend
    if backend not in ("cv2", "pillow"):
        raise ValueError(f"backend: {backend} is not supported; use 'cv2' or 'pillow'")
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor:{hue_factor} is not in [-0.5, 0.5].")
    if not (isinstance(img, np.ndarray) and img.ndim in (2, 3)):
        raise TypeError("img should be ndarray with dim=[2 or 3].")
    shift = np.uint8(int(hue_factor * 255) % 256)  # uint8 sums wrap around the circle of hues
    if backend == "pillow":
        bands = Image.fromarray(np.ascontiguousarray(img[..., ::-1])).convert("HSV").split()
        shifted = Image.fromarray(np.asarray(bands[0]) + shift)
        merged = Image.merge("HSV", (shifted, *bands[1:])).convert("RGB")
        return np.array(merged, dtype=img.dtype)[..., ::-1]
    hsv = cv2.cvtColor(img.astype(np.uint8), cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += shift
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL).astype(img.dtype)
