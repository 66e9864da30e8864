"""Pictures and batches for the tests of batched transforms."""

from __future__ import annotations

from typing import Any

import cv2
import lth_cls  # noqa: F401  (registers the transforms)
import numpy as np
import torch
from lth_cls.fast import Draws
from lth_cls.fast.batched import built
from torch import Tensor

CPU = torch.device("cpu")


def pictures(count: int = 16, height: int = 24, width: int = 20) -> np.ndarray:
    """``(2 * count, height, width, 3)`` uint8: noise, then soft blobs as photographs have."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    seeds = random.integers(0, 256, (count, height, width, 3)).astype(np.float32)
    soft = [np.clip((cv2.GaussianBlur(seed, (0, 0), 2) - 127) * 5 + 127, 0, 255) for seed in seeds]
    return np.concatenate([noise, np.stack(soft).astype(np.uint8)])


def batch(images: np.ndarray) -> Tensor:
    """``(N, C, H, W)`` of ``(N, H, W, C)``."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def unbatch(images: Tensor) -> np.ndarray:
    """``(N, H, W, C)`` of ``(N, C, H, W)``."""
    return images.permute(0, 2, 3, 1).numpy()


def draws(seed: int = 0) -> Draws:
    return Draws(seed, CPU)


def build(kind: str, **settings: Any) -> Any:
    """mmpretrain's transform."""
    return built({"type": kind, **settings})


def apart(ours: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how many levels pixels differ."""
    assert ours.shape == other.shape
    return np.abs(ours.astype(int) - other.astype(int))
