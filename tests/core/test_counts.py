"""Counts of parameters and FLOPs, against counting each multiply-add one by one."""

from __future__ import annotations

import itertools
from typing import Any

import lth_core as lth
import pytest
import torch
import torchvision
from lth_core.counts import Count
from lth_core.errors import MaskError
from torch import Tensor, nn


def half(model: nn.Module, *names: str) -> lth.MaskSet:
    """Masks that keep each weight by the toss of a coin."""
    generator = torch.Generator().manual_seed(0)
    named = dict(model.named_parameters())
    return lth.MaskSet(
        {n: torch.rand(named[n].shape, generator=generator) < 0.5 for n in names or named}
    )


def one_by_one(layer: nn.Conv2d, picture: tuple[int, ...], mask: Tensor) -> int:
    """Goes through a convolution as a plain program does, and counts what it multiplies."""
    out = layer(torch.zeros(picture)).shape
    count = 0
    for _n, o, _y, _x in itertools.product(*map(range, out)):
        for i, ky, kx in itertools.product(*map(range, layer.weight.shape[1:])):
            count += bool(mask[o, i, ky, kx])
    return count


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with bias": {"bias": True},
    "padded": {"padding": 2},
    "strided": {"stride": (2, 1)},
    "dilated": {"dilation": 2},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 4, "out_channels": 8},
    "1 x 1": {"kernel_size": 1},
    "oblong": {"kernel_size": (1, 3)},
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_convolutions(case: str, channels_last: bool) -> None:
    settings = {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "bias": False}
    layer = nn.Conv2d(**settings | CONVOLUTIONS[case])
    if channels_last:
        layer = layer.to(memory_format=torch.channels_last)
    masks = half(layer, "weight")
    counts = lth.count(layer, masks, torch.zeros(2, 4, 7, 6)).total
    assert counts.flops == one_by_one(layer, (2, 4, 7, 6), torch.ones_like(layer.weight))
    assert counts.kept_flops == one_by_one(layer, (2, 4, 7, 6), masks["weight"])
    assert counts.params == sum(p.numel() for p in layer.parameters())
    assert counts.params - counts.kept_params == masks.total - masks.kept


def test_a_transposed_convolution_acts_at_each_place_of_its_input() -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    masks = half(layer, "weight")
    counts = lth.count(layer, masks, torch.zeros(2, 4, 5, 7)).total
    assert counts.flops == 2 * 5 * 7 * masks.total
    assert counts.kept_flops == 2 * 5 * 7 * masks.kept


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 5, 2), nn.Conv3d(3, 5, 2)])
def test_other_dimensions(layer: nn.Module) -> None:
    size = (4,) if isinstance(layer, nn.Conv1d) else (4, 4, 4)
    masks = half(layer, "weight")
    counts = lth.count(layer, masks, torch.zeros(1, 3, *size)).total
    assert counts.flops == 3 ** len(size) * masks.total
    assert counts.kept_flops == 3 ** len(size) * masks.kept


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_layers(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(5, 7, bias)
    masks = half(layer, "weight")
    counts = lth.count(layer, masks, torch.zeros(shape)).total
    uses = torch.Size(shape[:-1]).numel()
    assert counts.flops == uses * 35
    assert counts.kept_flops == uses * masks.kept


def test_deformable_convolutions_count_as_ordinary_ones() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv_offset = nn.Conv2d(4, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x, self.conv_offset(x))

    model = Deformed()
    masks = half(model, "conv.weight")
    counts = lth.count(model, masks, torch.zeros(2, 4, 5, 5))
    assert counts.of("conv").flops == 2 * 25 * masks.total
    assert counts.of("conv").kept_flops == 2 * 25 * masks.kept
    assert counts.of("conv_offset").flops == 2 * 25 * 18 * 4 * 9


@pytest.mark.parametrize(
    ("layer", "each"),
    [
        (nn.BatchNorm2d(4), 2),
        (nn.BatchNorm2d(4, affine=False), 1),
        (nn.BatchNorm2d(4, track_running_stats=False), 5),
        (nn.GroupNorm(2, 4), 5),
        (nn.LayerNorm((5, 6)), 5),
        (nn.LayerNorm((5, 6), elementwise_affine=False), 4),
        (nn.InstanceNorm2d(4), 4),
        (nn.AdaptiveAvgPool2d(1), 1),
        (nn.AdaptiveAvgPool2d((2, 3)), 1),
        (nn.Upsample(scale_factor=2), 4),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 16),
        (nn.ReLU(), 0),
        (nn.MaxPool2d(2), 0),
    ],
)
def test_layers_without_products(layer: nn.Module, each: int) -> None:
    counts = lth.count(layer, None, torch.zeros(2, 4, 5, 6)).total
    assert counts.flops == counts.kept_flops == each * 2 * 4 * 5 * 6


def test_attention_of_which_parts_of_one_weight_act_differently_often() -> None:
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    masks = half(model, "in_proj_weight")
    kept = [int(part.count_nonzero()) for part in masks["in_proj_weight"].chunk(3)]
    query, keys = torch.zeros(1, 3, 8), torch.zeros(1, 5, 8)
    own = model.out_proj.weight.numel() * 3 + 2 * 3 * 5 * 8  # projection, scores and their sum
    counts = lth.count(model, masks, (query, keys, keys))
    assert counts.total.flops == own + 64 * (3 + 5 + 5)
    assert counts.total.kept_flops == own + kept[0] * 3 + kept[1] * 5 + kept[2] * 5
    assert lth.count(model, masks, (keys, keys, keys)).total.kept_flops == (
        model.out_proj.weight.numel() * 5 + 2 * 5 * 5 * 8 + sum(kept) * 5
    )


class Net(nn.Module):
    """A backbone, a layer that is used twice, a twin and a head that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.add_module("conv1", nn.Conv2d(3, 4, 3, bias=False))
        self.backbone.add_module("layer1", nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
        self.momentum_backbone = nn.Sequential()
        self.momentum_backbone.add_module("conv1", nn.Conv2d(3, 4, 3, bias=False))
        self.momentum_backbone.add_module(
            "layer1", nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        )
        self.momentum_backbone.requires_grad_(False)
        self.head = nn.Conv2d(4, 4, 1)
        self.unused = nn.Linear(2, 2)
        self.dropout = nn.Dropout()

    def extract(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.head(self.head(self.extract(x))))


def test_by_module_and_by_stage() -> None:
    model = Net()
    masks = half(model, "backbone.layer1.0.weight").without_prefix("backbone.")
    counts = lth.count(model, masks, torch.zeros(1, 3, 6, 6))
    assert list(counts.stages()) == [
        *("backbone.conv1", "backbone.layer1", "momentum_backbone", "head", "unused")
    ]
    layer = counts.stages()["backbone.layer1"]
    assert layer == counts.of("backbone.layer1")
    assert layer == Count(16 + 4 + 8, masks.kept + 4 + 8, 16 * 16 + 128, 16 * masks.kept + 128)
    assert counts.of("head") == Count(20, 20, 2 * 256, 2 * 256)
    assert counts.of("momentum_backbone") == Count(136, 120 + masks.kept, 0, 0)
    assert counts.total == sum(counts.stages().values(), Count())
    part = lth.count(model, masks, torch.zeros(1, 3, 6, 6), model.extract)
    assert part.of("backbone") == counts.of("backbone")
    assert part.of("head").flops == 0


def test_the_model_is_left_as_it_was() -> None:
    model = Net()
    model.backbone.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks, picture, stream = (
        half(model, "head.weight"),
        torch.rand(1, 3, 6, 6),
        torch.get_rng_state(),
    )
    lth.count(model, masks, picture)
    assert torch.equal(torch.get_rng_state(), stream)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_masks_of_another_model_are_refused() -> None:
    with pytest.raises(MaskError, match="do not fit"):
        lth.count(Net(), half(nn.Conv2d(1, 1, 1)), torch.zeros(1, 3, 6, 6))


def test_resnet50_as_published() -> None:
    """4.09 billion multiply-adds and 25,557,032 parameters, as torchvision states."""
    model = torchvision.models.resnet50()
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    masks = lth.prune(model, masks, 0.8, allocation="uniform")
    counts = lth.count(model, masks, torch.zeros(1, 3, 224, 224))
    assert counts.total.params == 25_557_032
    products = sum(
        own.flops for name, own in counts.modules.items()
        if isinstance(model.get_submodule(name), (nn.Conv2d, nn.Linear))
    )  # fmt: skip
    assert round(products / 1e9, 2) == 4.09
    in_scope = [counts.of(name.removesuffix(".weight")) for name in masks]
    dense, kept = (sum(getattr(c, f) for c in in_scope) for f in ("flops", "kept_flops"))
    assert kept / dense == pytest.approx(0.2, abs=1e-3)
    assert counts.total.flops - counts.total.kept_flops == dense - kept


def test_layers_are_what_has_something_of_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))
    masks = half(model, "0.weight", "2.weight")
    counts = lth.count(model, masks, torch.zeros(1, 3, 6, 5))
    kept = [int(masks[name].sum()) for name in masks]
    places = 4 * 3
    assert counts.layers() == {
        "0": Count(108, kept[0], 108 * places, kept[0] * places),
        "2": Count(8, kept[1], 8 * places, kept[1] * places),
    }
