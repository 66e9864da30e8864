"""Tickets of torchvision's ResNet-50 on backbones that are akin, and tickets of other kinds.

Everything is narrow: 8 channels where ResNet-50 has 64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.errors import TicketError
from lth_core.openmmlab import LTHRunner, TicketHook
from mmdet.models.backbones import Res2Net, SwinTransformer
from mmdet.models.backbones import ResNet as DetResNet
from mmpretrain.models.backbones import ConvNeXt
from mmpretrain.models.backbones import ResNet as ClsResNet
from mmseg.models.backbones import ResNet as SegResNet
from mmseg.models.backbones import ResNetV1c, ResNetV1d, ResNeXt
from torch import Tensor, nn

from ..helpers import random_masks, resnet, state_bits
from ..ticket_helpers import filled
from .toy import toy_config

NARROW = {"depth": 50, "base_channels": 8, "stem_channels": 8}
STEM = {"conv1.weight", *(f"bn1.{n}" for n in ("weight", "bias", "running_mean", "running_var"))}
STEM |= {"bn1.num_batches_tracked"}
BLOCKS = {1: 3, 2: 4, 3: 6, 4: 3}


class Holder(nn.Module):
    """Holds a backbone as OpenMMLab's models do."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = filled(backbone, 1)


def resnet50() -> nn.Module:
    model = filled(resnet("resnet50", width=8))
    del model.fc
    return model


def ticket_of(model: nn.Module) -> lth.Ticket:
    return lth.Ticket(random_masks(model), model.state_dict())


def weights_of(model: Holder) -> dict[str, Tensor]:
    return model.backbone.state_dict()


def in_blocks(*parts: str) -> list[str]:
    return [f"layer{s}.{b}.{part}" for s, n in BLOCKS.items() for b in range(n) for part in parts]


def shortcuts(number: int) -> set[str]:
    return {f"layer{stage}.0.downsample.{number}.weight" for stage in BLOCKS}


def expect_bits(model: Holder, name: str, ticket: lth.Ticket, source: str) -> None:
    assert ticket.weights is not None
    assert torch.equal(weights_of(model)[name], ticket.weights[source]), name


CONVOLUTIONS = {
    *in_blocks("conv1.weight", "conv2.weight", "conv3.weight"),
    *shortcuts(0),
}
DILATED = {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (DetResNet, {}),
        (DetResNet, {"style": "caffe"}),
        (DetResNet, {"dcn": {"type": "DCNv2"}, "stage_with_dcn": (False, True, True, True)}),
        (SegResNet, DILATED),
        (SegResNet, DILATED | {"contract_dilation": True}),
        (ClsResNet, {"out_indices": (0, 1, 2, 3)}),
    ],
)
def test_all_is_carried_over_to_openmmlabs_own_resnets(kind: Any, settings: Any) -> None:
    ticket, model = ticket_of(resnet50()), Holder(kind(**NARROW, **settings))
    report = ticket.suited(model).apply(model)
    assert report.prefix == "backbone."
    assert set(report.masked) == CONVOLUTIONS
    assert len(report.masked) == 52
    assert len(report.loaded) == 53 * 6  # a convolution and five tensors of its norm
    assert report.left == report.dropped == ()
    assert all("conv_offset" in name for name in report.missing)
    for name in ticket.weights or {}:
        expect_bits(model, name, ticket, name)


def test_a_deep_stem_keeps_its_own_weights_if_that_is_asked_for() -> None:
    ticket, model = ticket_of(resnet50()), Holder(ResNetV1c(**NARROW, **DILATED))
    before = state_bits(model)
    with pytest.raises(TicketError, match=r"conv1\.weight has no place.*deep one.*partial=True"):
        ticket.suited(model).apply(model)
    assert state_bits(model) == before
    report = ticket.suited(model).apply(model, partial=True)
    assert set(report.masked) == CONVOLUTIONS
    assert set(report.left) == STEM
    assert len(report.missing) == 3 * 6
    assert all(name.startswith("stem.") for name in report.missing)
    assert "left out conv1.weight" in str(report)
    assert "kept the model's own stem.0.weight" in str(report)
    for name in set(ticket.weights or {}) - STEM:
        expect_bits(model, name, ticket, name)


def other_number(name: str, step: int) -> str:
    """As pooling before a shortcut's convolution moves it and its norm on by one."""
    place, found, rest = name.partition(".downsample.")
    return f"{place}{found}{int(rest[0]) + step}{rest[1:]}" if found else name


def test_pooled_shortcuts_are_the_same_weights_under_other_numbers() -> None:
    ticket, model = ticket_of(resnet50()), Holder(ResNetV1d(**NARROW))
    suited = ticket.suited(model)
    report = suited.apply(model, partial=True)
    assert set(report.masked) == CONVOLUTIONS - shortcuts(0) | shortcuts(1)
    assert set(report.left) == STEM
    assert len(report.missing) == 3 * 6
    for name in set(ticket.weights or {}) - STEM:
        expect_bits(model, other_number(name, 1), ticket, name)
    assert suited.masks.digest() == ticket.masks.digest()
    # And back: a ticket of the pooled kind on a plain one.
    source = filled(ResNetV1d(**NARROW), 2)
    ticket, plain = ticket_of(source), Holder(DetResNet(**NARROW))
    report = ticket.suited(plain).apply(plain, partial=True)
    assert set(report.masked) == CONVOLUTIONS
    assert set(report.missing) == STEM
    for name in set(ticket.weights or {}):
        if not name.startswith("stem."):
            expect_bits(plain, other_number(name, -1), ticket, name)


@pytest.mark.parametrize(
    ("backbone", "said", "number", "stem"),
    [
        # Twice as wide inside, in groups: of a block's convolutions none has its shape.
        (
            ResNeXt(groups=4, base_width=4, **NARROW),
            r"layer1\.0\.conv1\.weight is \(16, 8, 1, 1\), not \(8, 8, 1, 1\)",
            0,
            STEM,
        ),
        # The 3 x 3 convolution is split into several, under other names.
        (
            Res2Net(scales=4, base_width=4, depth=50, base_channels=8, stem_channels=8),
            r"layer1\.0\.conv1\.weight is \(16, 8, 1, 1\), not \(8, 8, 1, 1\)",
            1,
            set(),
        ),
    ],
    ids=["ResNeXt", "Res2Net"],
)
def test_what_cannot_be_carried_over_is_an_error_unless_only_the_shared_is_wanted(
    backbone: nn.Module, said: str, number: int, stem: set[str]
) -> None:
    ticket, model = ticket_of(resnet50()), Holder(backbone)
    before = state_bits(model)
    for partial in (False, True):
        with pytest.raises(TicketError, match=said):
            ticket.suited(model).apply(model, partial=partial)
    assert state_bits(model) == before
    suited = ticket.suited(model, shared=True)
    report = suited.apply(model, partial=True)
    assert set(report.masked) == shortcuts(number)
    assert set(report.dropped) == CONVOLUTIONS - shortcuts(0)
    assert "48 masks have no place: layer1.0.conv1.weight" in str(report)
    kept = sum(int(ticket.masks[name].count_nonzero()) for name in shortcuts(0))
    total = sum(ticket.masks[name].numel() for name in shortcuts(0))
    assert report.sparsity == 1 - kept / total
    for name in shortcuts(0):
        expect_bits(model, other_number(name, number), ticket, name)
    assert stem <= set(report.loaded)
    assert not set(report.loaded) & CONVOLUTIONS - shortcuts(number)
    lth.attach(model, suited.masks).check()


def test_a_deeper_resnet_needs_partial() -> None:
    ticket, model = ticket_of(resnet50()), Holder(DetResNet(**NARROW | {"depth": 101}))
    with pytest.raises(TicketError, match=r"51 prunable weights that the ticket does not cover"):
        ticket.suited(model).apply(model)
    report = ticket.suited(model).apply(model, partial=True)
    assert set(report.masked) == CONVOLUTIONS
    assert all(name.startswith("layer3.") for name in report.missing)


def swin() -> nn.Module:
    return SwinTransformer(
        embed_dims=8, depths=(1, 1), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1)
    )


def convnext() -> nn.Module:
    return ConvNeXt({"depths": [1, 1], "channels": [8, 16]}, out_indices=(0, 1))


SWIN = {
    *(
        f"stages.{stage}.blocks.0.{part}.weight"
        for stage in (0, 1)
        for part in ("attn.w_msa.qkv", "attn.w_msa.proj", "ffn.layers.0.0", "ffn.layers.1")
    ),
    "stages.0.downsample.reduction.weight",
}
CONVNEXT = {
    *(
        f"stages.{stage}.0.{part}.weight"
        for stage in (0, 1)
        for part in ("depthwise_conv", "pointwise_conv1", "pointwise_conv2")
    ),
    "downsample_layers.1.1.weight",
}


@pytest.mark.parametrize(
    ("build", "scope"), [(swin, SWIN), (convnext, CONVNEXT)], ids=["Swin", "ConvNeXt"]
)
def test_backbones_of_linear_layers_have_tickets_of_their_own(build: Any, scope: set[str]) -> None:
    source, model = Holder(build()), Holder(build())
    names = lth.prunable(source, kinds=("conv", "linear"))
    assert set(names) == {f"backbone.{name}" for name in scope}  # all but the patches' stem
    masks = lth.prune(source, lth.MaskSet.ones(source, names), 0.8)
    assert masks.kept == masks.total - round(0.8 * masks.total)
    ticket = lth.Ticket(masks, source.state_dict())
    report = ticket.suited(model).apply(model)
    assert set(report.masked) == scope
    assert set(report.loaded) == set(weights_of(model))
    assert report.left == report.missing == report.dropped == ()
    for name in weights_of(model):
        expect_bits(model, name, ticket, name)
    # ResNet's says nothing about it, and the other way round.
    for partial in (False, True):
        with pytest.raises(TicketError, match="not fit"):
            ticket_of(resnet50()).suited(model).apply(model, partial=partial)
    with pytest.raises(TicketError, match="no weight in common"):
        ticket_of(resnet50()).suited(model, shared=True)


def train(ticket: Path, work_dir: Path, epochs: int, **settings: Any) -> LTHRunner:
    cfg = toy_config(work_dir, epochs, ticket={"path": str(ticket), **settings}, resume=epochs > 1)
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    return runner


def test_training_takes_what_is_shared_and_goes_on_with_it(ticket: Path, tmp_path: Path) -> None:
    whole = lth.Ticket.load(ticket)
    more = dict(whole.masks) | {"conv9.weight": torch.zeros(4, 4, 3, 3, dtype=torch.bool)}
    path = tmp_path / "more.safetensors"
    lth.Ticket(lth.MaskSet(more)).save(path)
    for partial in (False, True):
        with pytest.raises(TicketError, match=r"more\.safetensors: .*conv9\.weight is missing"):
            train(path, tmp_path / str(partial), 1, partial=partial)
    for epochs in (1, 2):
        runner = train(path, tmp_path / "run", epochs, partial="shared")
        hook = next(hook for hook in runner.hooks if isinstance(hook, TicketHook))
        assert hook.ticket.dropped == ("conv9.weight",)
        for name, mask in whole.masks.items():
            weight = runner.model.get_parameter(f"backbone.{name}")
            assert torch.equal(weight != 0, mask)
