"""Tickets put into models."""

from __future__ import annotations

import copy
import hashlib

import lth_core as lth
import pytest
import torch
import torchvision
from lth_core.errors import TicketError
from torch import nn

from .helpers import (
    Backbone,
    Classifier,
    MMLike,
    MoCoLike,
    bits,
    random_masks,
    resnet,
    state_bits,
)
from .ticket_helpers import filled, same_ticket


def expect_applied(backbone: nn.Module, ticket: lth.Ticket) -> None:
    """Survivors, zeros and everything else of the ticket, to the bit."""
    for name, tensor in backbone.state_dict().items():
        assert bits(tensor) == bits(ticket.weights[name]), name
    for name, mask in ticket.masks.items():
        assert not backbone.get_parameter(name)[~mask].any()


def backbone_ticket(seed: int = 5) -> lth.Ticket:
    model = filled(Backbone(), seed)
    return lth.Ticket(random_masks(model, 0.4), model.state_dict())


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, torch.compile])
def test_apply_to_a_bare_backbone_and_under_a_prefix(wrap):
    ticket = backbone_ticket()
    bare, whole = filled(Backbone(), 1), filled(MMLike(), 2)
    others = state_bits(whole.head), state_bits(whole.neck)
    report = ticket.apply(wrap(bare))
    expect_applied(bare, ticket)
    assert report.prefix == ""
    assert set(report.loaded) == set(bare.state_dict())
    assert set(report.masked) == set(ticket.masks)
    assert report.left == report.missing == report.twins == ()
    assert report.sparsity == ticket.masks.sparsity
    report = ticket.apply(wrap(whole))
    expect_applied(whole.backbone, ticket)
    assert report.prefix == "backbone."
    assert (state_bits(whole.head), state_bits(whole.neck)) == others
    assert "masked 2 weights at backbone" in str(report)
    assert "loaded 18 tensors" in str(report)


def test_apply_without_weights_only_zeroes():
    model = filled(MMLike())
    before = copy.deepcopy(model)
    ticket = lth.Ticket(random_masks(model.backbone))
    report = ticket.apply(model)
    assert report.loaded == ()
    for name, tensor in before.state_dict().items():
        mask = ticket.masks.get(name.removeprefix("backbone."))
        expected = tensor if mask is None else torch.where(mask, tensor, 0.0)
        assert bits(model.state_dict()[name]) == bits(expected)


def test_apply_changes_neither_the_ticket_nor_what_requires_grad():
    ticket, model = backbone_ticket(), MMLike()
    model.backbone.conv1.requires_grad_(False)
    before = copy.deepcopy(ticket)
    ticket.apply(model)
    assert same_ticket(ticket, before)
    with torch.no_grad():
        model.backbone.bn1.weight.add_(1)
    assert same_ticket(ticket, before)
    assert [p.requires_grad for p in model.backbone.parameters()].count(False) == 1


def test_twins_are_loaded_and_masked_too():
    model = MoCoLike()
    ticket = backbone_ticket()
    report = ticket.apply(model)
    assert report.prefix == "encoder_q."
    assert report.twins == ("encoder_k.",)
    expect_applied(model.encoder_q, ticket)
    expect_applied(model.encoder_k, ticket)
    assert "also into encoder_k." in str(report)


def test_the_head_stays_out_of_a_model_without_one():
    classifier = filled(Classifier())
    ticket = lth.Ticket(random_masks(classifier), classifier.state_dict())
    assert "fc.weight" in ticket.weights
    model = MMLike()
    report = ticket.apply(model)
    assert set(report.left) == {"fc.weight", "fc.bias"}
    assert report.missing == ()
    assert bits(model.backbone.bn1.weight) == bits(classifier.bn1.weight)
    # Another number of classes: the model keeps its own head.
    other = filled(Classifier(classes=7), 3)
    before = state_bits(other.fc)
    report = ticket.apply(other)
    assert set(report.left) == {"fc.weight", "fc.bias"}
    assert state_bits(other.fc) == before
    # The same number: it is loaded.
    same = Classifier()
    assert ticket.apply(same).left == ()
    assert bits(same.fc.weight) == bits(classifier.fc.weight)


def test_what_the_ticket_does_not_bring_is_reported():
    source = filled(Backbone())
    state = {n: t for n, t in source.state_dict().items() if "running" not in n}
    ticket = lth.Ticket(random_masks(source), state)
    model = filled(MMLike(), 1)
    report = ticket.apply(model)
    assert all("running" in name for name in report.missing)
    assert len(report.missing) == 6
    assert "kept the model's own bn1.running_mean, bn1.running_var" in str(report)


@pytest.mark.parametrize(
    ("arch", "width", "message"),
    [
        ("resnet34", 64, r"16 prunable weights that the ticket does not cover \(layer1\.2\.conv1"),
        ("resnet50", 64, r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), not \(64, 64, 3, 3\)"),
        ("resnet18", 32, r"is \(32, 32, 3, 3\), not \(64, 64, 3, 3\)"),
    ],
)
def test_another_architecture_is_one_line_and_nothing_is_changed(arch, width, message):
    source = resnet("resnet18")
    masks = lth.MaskSet.ones(source, lth.prunable(source)).map(
        lambda mask: torch.arange(mask.numel()).reshape(mask.shape) % 3 == 0
    )
    state = {n: torch.zeros(t.shape) for n, t in source.state_dict().items()}
    model = filled(resnet(arch, width))
    before = state_digest(model)
    for ticket in (lth.Ticket(masks, state), lth.Ticket(masks)):
        with pytest.raises(TicketError, match=message) as info:
            ticket.apply(model)
        assert "\n" not in str(info.value)
        assert len(str(info.value)) < 400
    assert state_digest(model) == before


def state_digest(model: nn.Module) -> str:
    sha = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        sha.update(name.encode() + bits(tensor))
    return sha.hexdigest()


def test_a_smaller_architecture_is_refused_whether_or_not_partial():
    ticket = lth.Ticket(lth.MaskSet.ones(big := filled(resnet("resnet34")), lth.prunable(big)))
    model = filled(resnet("resnet18"))
    before = state_digest(model)
    for partial in (False, True):
        with pytest.raises(TicketError, match=r"layer1\.2\.conv1\.weight is missing"):
            ticket.apply(model, partial=partial)
    assert state_digest(model) == before


def test_a_cifar_stem_needs_partial():
    source = filled(Backbone(stem_kernel=7))
    ticket = lth.Ticket(random_masks(source), source.state_dict())
    model = filled(MMLike(Backbone(stem_kernel=3)), 1)
    before = state_bits(model)
    with pytest.raises(TicketError, match=r"conv1\.weight is \(4, 3, 3, 3\), not \(4, 3, 7, 7\)"):
        ticket.apply(model)
    assert state_bits(model) == before
    report = ticket.apply(model, partial=True)
    assert report.left == ("conv1.weight",)
    assert report.missing == ("conv1.weight",)
    assert bits(model.backbone.conv1.weight) == before["backbone.conv1.weight"]
    assert bits(model.backbone.bn1.weight) == bits(source.bn1.weight)
    assert bits(model.backbone.layer1[0].conv1.weight) == bits(
        ticket.weights["layer1.0.conv1.weight"]
    )


def with_deep_stem(model: nn.Module) -> nn.Module:
    """As OpenMMLab's ResNetV1c: three convolutions called stem instead of conv1 and bn1."""
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)]
    stem = nn.Sequential(*layers, nn.BatchNorm2d(4), nn.ReLU())
    del model.conv1, model.bn1
    model.stem = stem
    return model


def test_masks_carry_over_to_a_deep_stem_and_the_stems_weights_do_not():
    ticket = backbone_ticket()
    model = MMLike(filled(with_deep_stem(Backbone()), 1))
    before = state_bits(model)
    message = (
        r"conv1\.weight has no place, bn1\.bias has no place, .* and 3 more \(the model's stem"
    )
    with pytest.raises(TicketError, match=message):
        ticket.apply(model)
    assert state_bits(model) == before
    report = lth.Ticket(ticket.masks).apply(model)  # a mask alone asks for no stem
    assert report.masked == tuple(ticket.masks)
    report = ticket.apply(model, partial=True)
    stem = {name for name in ticket.weights if name.startswith(("conv1.", "bn1."))}
    assert set(report.left) == stem
    assert all(name.startswith("stem.") for name in report.missing)
    for name, tensor in ticket.weights.items():
        if name not in stem:
            assert bits(model.backbone.state_dict()[name]) == bits(tensor)
    after = state_bits(model)
    assert all(after[n] == before[n] for n in before if ".stem." in n)


def test_weights_of_a_deep_stem_do_not_go_into_a_plain_one():
    source = filled(with_deep_stem(Backbone()))
    ticket = lth.Ticket(random_masks(source), source.state_dict())
    with pytest.raises(TicketError, match=r"stem\.0\.weight has no place.*the ticket's stem is"):
        ticket.apply(MMLike())
    assert set(ticket.apply(MMLike(), partial=True).missing) >= {"conv1.weight", "bn1.weight"}


def test_a_mask_on_the_stem_fits_no_other_stem_even_in_part():
    ticket = lth.Ticket(random_masks(Backbone(), stem=True))
    for partial in (False, True):
        with pytest.raises(TicketError, match=r"conv1\.weight is missing"):
            ticket.apply(with_deep_stem(Backbone()), partial=partial)


def test_dilated_strides_are_no_difference():
    source = torchvision.models.resnet50(width_per_group=1, num_classes=2)
    model = torchvision.models.resnet50(
        width_per_group=1, num_classes=2, replace_stride_with_dilation=[False, True, True]
    )
    ticket = lth.Ticket(random_masks(source), source.state_dict())
    report = ticket.apply(model)
    assert set(report.loaded) == set(model.state_dict())
    assert report.left == report.missing == ()


class Deformable(nn.Module):
    """A deformable convolution with its predictor of offsets, as mmcv builds and names them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels, 3, 3))
        self.conv_offset = nn.Conv2d(channels, 18, 3, padding=1)


class ModulatedDeformConv2dPack(Deformable):
    """mmcv's name for it."""


def test_deformable_convolutions_take_the_ticket_and_keep_their_offsets():
    ticket = backbone_ticket()
    model = MMLike()
    model.backbone.layer1[0].conv2 = ModulatedDeformConv2dPack(4)
    offset = state_bits(model.backbone.layer1[0].conv2.conv_offset)
    report = ticket.apply(model)
    name = "layer1.0.conv2.weight"
    assert bits(model.backbone.layer1[0].conv2.weight) == bits(ticket.weights[name])
    assert state_bits(model.backbone.layer1[0].conv2.conv_offset) == offset
    assert set(report.missing) == {f"layer1.0.conv2.conv_offset.{n}" for n in ("weight", "bias")}
    # Its own scope is that of the ticket.
    assert lth.prunable(model) == tuple(f"backbone.{name}" for name in ticket.masks)


def test_partial_lets_a_mask_cover_less_than_the_model():
    part = random_masks(Backbone())
    part = lth.MaskSet({"layer1.0.conv1.weight": part["layer1.0.conv1.weight"]})
    model = MMLike()
    with pytest.raises(TicketError, match=r"1 prunable weights .*layer1\.0\.conv2\.weight"):
        lth.Ticket(part).apply(model)
    lth.Ticket(part).apply(model, partial=True)
    assert not model.backbone.layer1[0].conv1.weight[~part["layer1.0.conv1.weight"]].any()


def test_a_tensor_without_a_place_is_an_error():
    source = Backbone()
    state = source.state_dict() | {"extra.weight": torch.zeros(2)}
    with pytest.raises(TicketError, match=r"extra\.weight has no place"):
        lth.Ticket(random_masks(source), state).apply(MMLike())


@pytest.mark.parametrize("stem", [False, True])
def test_a_convolution_before_the_backbone_is_no_stem_of_it(stem):
    """The backbone's own stem is dense in most tickets, whatever stands before it."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Backbone())
    ticket = lth.Ticket(random_masks(Backbone(), stem=stem))
    assert ticket.apply(model).prefix == "1."


def test_a_mask_on_nothing_but_a_stem():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    masks = random_masks(model, stem=True)
    lth.Ticket(masks).apply(model)
    assert not model[0].weight[~masks["0.weight"]].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_dtypes_and_memory_formats(dtype):
    ticket = backbone_ticket()
    model = Backbone().to(dtype).to(memory_format=torch.channels_last)
    ticket.apply(model)
    for name, mask in ticket.masks.items():
        weight = model.get_parameter(name)
        assert weight.dtype == dtype
        assert not weight[~mask].any()
        assert torch.equal(weight, ticket.weights[name].to(dtype))


def test_linear_weights_in_the_mask():
    mlp = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    names = lth.prunable(mlp, kinds=("linear",))
    ones = lth.MaskSet.ones(mlp, names)
    lth.Ticket(~ones).apply(mlp)
    assert not mlp[1].weight.any()
    assert mlp[3].weight.any()
    with pytest.raises(TicketError, match=r"1 prunable weights .*2\.weight"):
        lth.Ticket(lth.MaskSet({names[0]: ones[names[0]]})).apply(mlp)
