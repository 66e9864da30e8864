"""Batched transforms draw as mmpretrain's do: two-sample tests with fixed seeds.

Seeds are fixed, so that a test gives the same on every run; a p-value of 0.001 then separates
what is drawn alike from shares that are off by a few percent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from lth_cls.fast import batched
from lth_core.randomness import isolated
from scipy import stats
from torch import Tensor

from .pictures import build, draws, unbatch

COUNT = 4000
CHANCE = 0.001


def require_alike(ours: Any, other: Any) -> None:
    """Two samples of a number, by Kolmogorov and Smirnov; of few values, by chi squared."""
    ours, other = np.asarray(ours, float), np.asarray(other, float)
    values = np.unique(np.concatenate([ours, other]))
    if len(values) == 1:
        return
    if len(values) <= 40:
        table = [[(each == value).sum() for value in values] for each in (ours, other)]
        # Rare values are counted together.
        common = np.array(table).sum(0) >= 10
        kept = [[*np.array(row)[common], np.array(row)[~common].sum()] for row in table]
        full = np.array(kept)[:, np.array(kept).sum(0) > 0]
        assert stats.chi2_contingency(full).pvalue > CHANCE
    else:
        assert stats.ks_2samp(ours, other).pvalue > CHANCE


def repeated(function: Callable[[], Any], count: int = COUNT) -> np.ndarray:
    with isolated(1):
        return np.array([function() for _ in range(count)], dtype=float)


def blank(count: int = COUNT, height: int = 24, width: int = 20) -> Tensor:
    return torch.zeros(count, 3, height, width, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (24, 20)),
        ({"crop_ratio_range": (0.2, 1.0)}, (32, 32)),
        ({"crop_ratio_range": (0.6, 1.0), "aspect_ratio_range": (0.8, 1.25)}, (32, 32)),
        ({"crop_ratio_range": (0.9, 1.0), "max_attempts": 2}, (10, 24)),  # mostly the middle
        ({"crop_ratio_range": (0.9, 1.0), "max_attempts": 1}, (30, 12)),
    ],
)
def test_resized_crops(settings: dict[str, Any], shape: tuple[int, int]) -> None:
    stock = build("RandomResizedCrop", scale=8, **settings)
    image = np.zeros((*shape, 3), np.uint8)
    other = repeated(lambda: stock.rand_crop_params(image))
    boxes = batched(stock).boxes(blank(COUNT, *shape), draws())
    ours = torch.stack(boxes, 1).numpy()
    for column in range(4):  # top, left, height, width
        require_alike(ours[:, column], other[:, column])
    area, ratio = (lambda b: b[:, 2] * b[:, 3]), (lambda b: b[:, 3] / b[:, 2])
    require_alike(area(ours), area(other))
    require_alike(ratio(ours), ratio(other))
    assert (ours[:, 0] + ours[:, 2] <= shape[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= shape[1]).all()


def test_padded_crops() -> None:
    stock = build("RandomCrop", crop_size=(20, 18))
    image = np.zeros((24, 20, 3), np.uint8)
    other = repeated(lambda: stock.rand_crop_params(image)[:2])
    ours = torch.stack(batched(stock).offsets(blank(), draws()), 1).numpy()
    for column, most in enumerate((4, 2)):
        require_alike(ours[:, column], other[:, column])
        assert set(ours[:, column]) == set(range(most + 1))


@pytest.mark.parametrize(
    ("prob", "direction"),
    [
        (0.5, "horizontal"),
        (0.3, "vertical"),
        (0.6, ["horizontal", "diagonal"]),
        ([0.1, 0.5], ["vertical", "horizontal"]),
    ],
)
def test_flips(prob: Any, direction: Any) -> None:
    stock = build("RandomFlip", prob=prob, direction=direction)
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 0] = 1, 2, 3
    other = repeated(lambda: stock.transform({"img": image})["img"][0, 0, 0])
    images = torch.from_numpy(image).permute(2, 0, 1)[None].repeat(COUNT, 1, 1, 1)
    ours = batched(stock)(images, draws())[:, 0, 0, 0]
    require_alike(ours.numpy(), other)


def test_jitter() -> None:
    stock = build("ColorJitter", brightness=0.8, contrast=(0.2, 1.1), saturation=0.3, hue=0.2)
    rows = repeated(lambda: np.concatenate([(p := stock._rand_params())[0], p[1:]]))
    order, factors, shift = batched(stock).parameters(COUNT, draws())
    for position in range(4):
        require_alike(order[:, position].numpy(), rows[:, position])
    # The whole order, not only each place of it.
    weights = np.array([64, 16, 4, 1])
    require_alike(order.numpy() @ weights, rows[:, :4] @ weights)
    for factor, column in zip(factors, (4, 5, 6), strict=True):
        require_alike(factor.numpy(), rows[:, column])
    require_alike(shift.numpy(), np.trunc(rows[:, 7] * 255))


@pytest.mark.parametrize(
    "settings",
    [
        {"magnitude_range": (0.1, 2.0), "magnitude_std": "inf", "prob": 0.5},
        {"magnitude_range": (0.1, 2.0), "magnitude_std": 2.0, "magnitude_level": 6, "prob": 1.0},
        {"magnitude_range": (2.0, 0.1), "magnitude_level": 4, "prob": 0.2},
        {"radius": 1.5, "prob": 0.7},
    ],
)
def test_blur(settings: dict[str, Any]) -> None:
    stock = build("GaussianBlur", **settings)

    def other() -> float:
        if stock.random_disable():
            return 0.0
        return stock.radius if stock.radius is not None else stock.random_magnitude()

    chosen, sigma = batched(stock).drawn(COUNT, draws(), stock.radius)
    require_alike((chosen * sigma).numpy(), repeated(other))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("RandomGrayscale", {"prob": 0.2, "keep_channels": True}),
        ("Solarize", {"thr": 4, "prob": 0.3}),
        ("Solarize", {"magnitude_range": (256, 0), "magnitude_std": "inf", "prob": 0.5}),
        ("RandomApply", {"prob": 0.8, "transforms": [{"type": "Solarize", "thr": 1, "prob": 0.5}]}),
        ("Lighting", {"eigval": [9.0, 4.0, 1.0], "eigvec": [[1.0, 0.5, 0.2]] * 3, "alphastd": 2.0}),
        ("RandomErasing", {"erase_prob": 0.4, "mode": "rand"}),
        ("RandomErasing", {"erase_prob": 0.4, "mode": "rand", "fill_std": 30.0}),
        ("RandomErasing", {"erase_prob": 0.9, "min_area_ratio": 0.2, "fill_color": (9, 8, 7)}),
    ],
)
def test_what_becomes_of_a_picture(kind: str, settings: dict[str, Any]) -> None:
    """Of what cannot be asked for its parameters: sums and single pixels of the results."""
    stock, count = build(kind, **settings), COUNT // 2
    image = (np.arange(24)[:, None, None] * 2 + np.array([100, 120, 140])).astype(np.uint8)
    image = np.repeat(image, 20, 1)
    with isolated(1):
        other = np.stack([stock.transform({"img": image.copy()})["img"] for _ in range(count)])
    images = torch.from_numpy(image).permute(2, 0, 1)[None].repeat(count, 1, 1, 1)
    ours = unbatch(batched(stock)(images, draws()))
    for look in (
        lambda pictures: pictures.astype(float).sum((1, 2, 3)),
        lambda pictures: pictures[:, 12, 10, 0],
        lambda pictures: pictures[:, 2, 3, 1],
        lambda pictures: (pictures != image).any(3).sum((1, 2)),
    ):
        require_alike(look(ours), look(other))


def test_erased_rectangles() -> None:
    stock = build("RandomErasing", min_area_ratio=0.02, max_area_ratio=0.4)
    other = repeated(lambda: stock.random_patch(24, 20))
    ours = torch.stack(batched(stock).patches(blank(), draws()), 1).numpy()
    for column in range(4):
        require_alike(ours[:, column], other[:, column])
