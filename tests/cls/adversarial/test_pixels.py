"""The way between a model's inputs and pixels from 0 to 1."""

from __future__ import annotations

from typing import Any

import mmpretrain.models  # noqa: F401  (registers)
import pytest
import torch
from lth_cls.adversarial import PixelSpace
from lth_core.errors import ConfigError
from mmpretrain.registry import MODELS

NORMALISATIONS = [
    {},
    {"mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]},
    {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True},
    {"mean": [127.5], "std": [64.0]},
]


def preprocessor(**settings: Any) -> torch.nn.Module:
    return MODELS.build({"type": "ClsDataPreprocessor", **settings})


@pytest.mark.parametrize("settings", NORMALISATIONS)
def test_pixels_are_what_was_loaded_over_255(settings: dict[str, Any]) -> None:
    loaded = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    loaded[0, 0, 0, :2] = torch.tensor([0, 255])
    built = preprocessor(**settings)
    inputs = built({"inputs": loaded})["inputs"]
    space = PixelSpace(built)
    pixels = space.to_pixels(inputs)
    order = [2, 1, 0] if settings.get("to_rgb") else [0, 1, 2]
    assert torch.allclose(pixels, loaded[:, order] / 255, atol=1e-6)
    assert torch.allclose(space.to_inputs(pixels), inputs, atol=1e-3 if not settings else 1e-5)
    space.check(pixels)


def test_gradients_pass_both_ways() -> None:
    built = preprocessor(mean=[100.0, 110.0, 120.0], std=[50.0, 51.0, 52.0])
    space, pixels = PixelSpace(built), torch.rand(2, 3, 2, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(space.to_inputs(pixels).sum(), pixels)
    assert torch.allclose(slope, (255 / built.std).expand_as(slope))
    (slope,) = torch.autograd.grad(space.to_pixels(pixels).sum(), pixels)
    assert torch.allclose(slope, (built.std / 255).expand_as(slope))


def test_the_normalisation_is_looked_up_at_each_use() -> None:
    built = preprocessor(mean=[0.0], std=[1.0])
    space = PixelSpace(built)
    built.std.fill_(2.0)
    assert space.to_inputs(torch.ones(1, 1, 1, 1)).item() == 127.5


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.tensor([-2.1, 2.6]), "run from -2.1 to 2.6"),
        (torch.tensor([0.0, 1.1]), "run from 0 to 1.1"),
        (torch.tensor([0.0, 1 / 255]), "reach 0.00392 at most"),
    ],
)
def test_pixels_of_another_scale_are_refused(pixels: torch.Tensor, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PixelSpace(preprocessor()).check(pixels)


def test_black_images_pass() -> None:
    PixelSpace(preprocessor()).check(torch.zeros(1, 3, 2, 2))
