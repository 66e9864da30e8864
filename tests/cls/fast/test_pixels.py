"""With the same random numbers, batched transforms make the pixels of mmpretrain's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lth_cls.fast import batched
from lth_cls.fast.blur import blur
from lth_cls.fast.colour import jitter
from lth_cls.fast.resampling import resize_boxes
from lth_core.errors import ConfigError
from PIL import Image, ImageFilter

from .pictures import apart, batch, build, draws, pictures, unbatch

IMAGES = pictures()
COUNT = len(IMAGES)


def boxes(seed: int = 0) -> tuple[Any, ...]:
    random = np.random.default_rng(seed)
    height, width = IMAGES.shape[1:3]
    tall, wide = random.integers(3, height + 1, COUNT), random.integers(3, width + 1, COUNT)
    top, left = random.integers(0, height - tall + 1), random.integers(0, width - wide + 1)
    return tuple(torch.from_numpy(each) for each in (top, left, tall, wide))


# Largest difference, and share of pixels that differ at all. OpenCV's bilinear weights are of 11
# bits; Pillow resizes along the other axis first where that is less work.
AGREE = {
    ("cv2", "nearest"): (0, 0),
    ("cv2", "bilinear"): (1, 0.2),
    ("cv2", "bicubic"): (1, 0.05),
    ("pillow", "bilinear"): (1, 0.3),
    ("pillow", "bicubic"): (25, 0.3),
}


@pytest.mark.parametrize(("backend", "interpolation"), AGREE)
@pytest.mark.parametrize("shape", [(32, 32), (9, 11), (9, 40)])
def test_a_resized_crop(backend: str, interpolation: str, shape: tuple[int, int]) -> None:
    where = boxes()
    stock = build("RandomResizedCrop", scale=shape, backend=backend, interpolation=interpolation)
    expected = []
    for image, box in zip(IMAGES, zip(*(b.tolist() for b in where), strict=True), strict=True):
        stock.rand_crop_params = lambda _, box=box: box
        expected.append(stock.transform({"img": image})["img"])
    found = unbatch(resize_boxes(batch(IMAGES), where, shape, backend, interpolation))
    differ = apart(found, np.stack(expected))
    most, share = AGREE[backend, interpolation]
    assert differ.max() <= most
    assert (differ > 0).mean() <= share
    # On pictures without noise no filter rings.
    assert differ[COUNT // 2 :].max() <= min(most, 4)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0, 5.0])
def test_blur_is_pillows_box_blur(sigma: float) -> None:
    """Pillow rounds after each of its six passes, we after two products."""
    blurred = ImageFilter.GaussianBlur(sigma)
    expected = np.stack([np.asarray(Image.fromarray(image).filter(blurred)) for image in IMAGES])
    sigmas = torch.full((COUNT,), sigma, dtype=torch.float64)
    differ = apart(unbatch(blur(batch(IMAGES), sigmas)), expected)
    assert differ.max() <= 3
    assert differ.mean() <= 0.7


def test_no_blur_is_nothing() -> None:
    images = batch(IMAGES)
    assert torch.equal(blur(images, torch.zeros(COUNT, dtype=torch.float64)), images)


def jittered(kinds: set[int], seed: int = 3) -> np.ndarray:
    """Differences from mmpretrain's, with the parameters that the batched one has drawn."""
    names = ("brightness", "contrast", "saturation", "hue")
    stock = build(
        "ColorJitter", **{n: 0.2 if n == "hue" else 0.8 for k, n in enumerate(names) if k in kinds}
    )
    order, factors, shift = batched(stock).parameters(COUNT, draws(seed))
    expected = []
    for index, image in enumerate(IMAGES):
        drawn: list[Any] = [None if f is None else float(f[index]) for f in factors]
        # Back to what mmcv multiplies with 255 and cuts.
        moved = None if shift is None else (abs(shift[index]) + 0.5) / 255 * shift[index].sign()
        stock._rand_params = lambda index=index, drawn=drawn, moved=moved: (
            order[index].tolist(),
            *drawn,
            None if moved is None else float(moved),
        )
        expected.append(stock.transform({"img": image})["img"])
    return apart(unbatch(jitter(batch(IMAGES), order, factors, shift)), np.stack(expected))


@pytest.mark.parametrize("kinds", [{0}, {1}, {2}, {0, 1, 2}])
def test_brightness_contrast_and_saturation_are_pillows(kinds: set[int]) -> None:
    assert jittered(kinds).max() == 0


@pytest.mark.parametrize("kinds", [{3}, {0, 1, 2, 3}])
def test_hue_is_pillows_but_for_its_rounding(kinds: set[int]) -> None:
    """Hue and saturation are bytes: where one falls on a whole number Pillow's may be one lower."""
    differ = jittered(kinds)
    assert (differ > 0).mean() < 0.005
    assert np.quantile(differ, 0.995) == 0


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("RandomCrop", {"crop_size": 16, "padding": (3, 2), "pad_val": (9, 8, 7)}),
    ("RandomFlip", {"prob": 1.0, "direction": "diagonal"}),
    ("RandomGrayscale", {"prob": 1.0, "keep_channels": True, "channel_weights": (0.1, 0.6, 0.3)}),
    ("Solarize", {"thr": 100, "prob": 1.0}),
    ("CenterCrop", {"crop_size": (16, 10)}),
    ("Resize", {"scale": (15, 13)}),
    ("ResizeEdge", {"scale": 15}),
    ("ResizeEdge", {"scale": 15, "edge": "long", "backend": "pillow"}),
    ("RandomApply", {"transforms": [{"type": "mmpretrain.Solarize", "thr": 9}], "prob": 0.0}),
    ("RandomErasing", {"erase_prob": 0.0}),
    ("Lighting", {"eigval": [1.0, 2.0, 3.0], "eigvec": [[1.0, 0, 0]] * 3, "alphastd": 0.0}),
]


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_without_chance_the_pixels_are_the_same(kind: str, settings: dict[str, Any]) -> None:
    """A crop as large as the padded picture, certain flips and the like."""
    if kind == "RandomCrop":
        settings = {**settings, "crop_size": (IMAGES.shape[1] + 4, IMAGES.shape[2] + 6)}
    stock = build(kind, **settings)
    expected = np.stack([stock.transform({"img": image.copy()})["img"] for image in IMAGES])
    found = unbatch(batched(stock)(batch(IMAGES), draws()))
    assert apart(found, expected).max() <= ("Resize" in kind)


@pytest.mark.parametrize("mode", ["edge", "reflect", "constant"])
def test_small_pictures_are_padded(mode: str) -> None:
    stock = build("RandomCrop", crop_size=30, pad_if_needed=True, padding_mode=mode)
    found = unbatch(batched(stock)(batch(IMAGES), draws()))
    for image, ours in zip(IMAGES, found, strict=True):
        padded = np.pad(image, ((3, 3), (5, 5), (0, 0)), mode=mode)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (30, 30), axis=(0, 1))
        assert (windows == ours.transpose(2, 0, 1)).all((2, 3, 4)).sum() >= 1


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("ColorJitter", {"brightness": 0.1, "backend": "cv2"}, "backend='cv2'"),
        ("RandomResizedCrop", {"scale": 8, "interpolation": "area"}, "interpolation='area'"),
        ("Resize", {"scale": (8, 8), "keep_ratio": True}, "keep_ratio=True"),
        ("RandomGrayscale", {"prob": 0.1}, "keep_channels=False"),
        ("Rotate", {"angle": 3.0}, "Rotate has no batched counterpart"),
    ],
)
def test_what_has_no_counterpart_is_named(kind: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match="has no batched counterpart") as problem:
        batched(build(kind, **settings))
    assert named in str(problem.value)
    assert "\n" not in str(problem.value)
