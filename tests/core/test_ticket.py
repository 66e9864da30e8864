"""Tickets: what goes into one, and the file."""

from __future__ import annotations

import hashlib
import json
import os

import lth_core as lth
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core import files
from lth_core.errors import TicketError

from .helpers import (
    Backbone,
    Classifier,
    MMLike,
    MoCoLike,
    bits,
    mask_sets,
    random_masks,
    resnet,
)
from .ticket_helpers import filled, same_ticket, tiny

# ---------------------------------------------------------------------------------------------
# Making one


def test_prefixes_up_to_the_backbone_are_taken_off():
    plain = random_masks(Backbone())
    for prefix in ("backbone.", "student.backbone.", "module.", "module.backbone._orig_mod."):
        assert lth.Ticket(plain.with_prefix(prefix)).masks == plain


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("mask_prefix", ["", "backbone.", "module.backbone."])
def test_weights_of_a_whole_model_are_cut_to_its_backbone(mask_prefix, wrapper):
    model = MMLike()
    masks = random_masks(model.backbone)
    state = {wrapper + name: tensor for name, tensor in model.state_dict().items()}
    ticket = lth.Ticket(masks.with_prefix(mask_prefix), state)
    expected = model.backbone.state_dict()
    assert set(ticket.weights) == set(expected)
    for name, tensor in expected.items():
        wanted = tensor * masks[name] if name in masks else tensor
        assert torch.equal(ticket.weights[name], wanted)


def test_pruned_weights_become_positive_zero_and_the_rest_stays_to_the_bit():
    special = torch.tensor([-0.0, float("nan"), -3.0, float("inf"), -0.0, -1.0])
    keep = torch.tensor([True, True, True, True, False, False])
    ticket = lth.Ticket(lth.MaskSet({"w": keep}), {"w": special})
    assert bits(ticket.weights["w"]) == bits(special[:4]) + bits(torch.zeros(2))


def test_weights_are_a_copy():
    model = Classifier()
    ticket = lth.Ticket(random_masks(model), model.state_dict())
    before = {name: bits(tensor) for name, tensor in ticket.weights.items()}
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert {name: bits(tensor) for name, tensor in ticket.weights.items()} == before


def test_backbone_weights_are_preferred_to_a_twins():
    model = MoCoLike()
    model.encoder_k = filled(Backbone(), 1)
    masks = random_masks(model.encoder_q)
    ticket = lth.Ticket(masks, model.state_dict())
    assert torch.equal(ticket.weights["bn1.weight"], model.encoder_q.bn1.weight)
    assert same_ticket(ticket, lth.Ticket(masks, model.encoder_q.state_dict()))


def test_weights_of_another_model_are_refused():
    masks = random_masks(Backbone(4))
    with pytest.raises(TicketError, match=r"layer1\.0\.conv1\.weight is \(8, 8, 3, 3\), not"):
        lth.Ticket(masks, Backbone(8).state_dict())
    state = Backbone(4).state_dict()
    del state["layer1.0.conv2.weight"]
    with pytest.raises(TicketError, match=r"layer1\.0\.conv2\.weight is missing"):
        lth.Ticket(masks, state)


# ---------------------------------------------------------------------------------------------
# The file


def float_tensor(draw, shape, dtype):
    """A tensor of any bits: NaN, -0.0 and subnormal numbers among them."""
    size = torch.Size(shape).numel() * torch.empty(0, dtype=dtype).element_size()
    data = draw(st.binary(min_size=size, max_size=size))
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


@st.composite
def tickets(draw):
    (masks,) = draw(mask_sets())
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    weights = None
    if draw(st.booleans()):
        weights = {n: float_tensor(draw, tuple(m.shape), dtype) for n, m in masks.items()}
        weights["dense"] = float_tensor(draw, draw(st.sampled_from([(), (3,), (2, 0)])), dtype)
        weights["counter"] = torch.tensor(draw(st.integers(-(2**63), 2**63 - 1)))
    meta = draw(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4)))
    return lth.Ticket(masks, weights, meta)


@given(tickets())
def test_save_and_load_give_the_same_ticket_to_the_bit(tmp_path_factory, ticket):
    path = tmp_path_factory.mktemp("ticket") / "t.safetensors"
    ticket.save(path)
    assert same_ticket(lth.Ticket.load(path), ticket)


def test_the_file_holds_packed_bits_and_survivors_only(tmp_path):
    tiny().save(tmp_path / "t")
    tensors, header = files.load_tensors(tmp_path / "t", TicketError, "ticket")
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "mask/a.weight": [0b100101],
        "survivors/a.weight": [1.0, 3.0, 6.0],
        "dense/a.bias": [0.5],
    }
    assert header["shapes"] == {"a.weight": [2, 3]}
    assert header["sparsity"] == 0.5
    assert header["digest"] == hashlib.sha256(bytes([0b100101])).hexdigest()
    assert header["meta"] == {"level": 1}
    assert header["versions"]["torch"] == torch.__version__


def test_sizes_for_resnet50(tmp_path):
    """At most 3.0 MB for the mask, 14 MB with survivors at 89.26 %; dense weights are 94 MB."""
    model = resnet("resnet50")
    names = lth.prunable(model)
    generator = torch.Generator().manual_seed(0)
    shapes = {name: model.get_parameter(name).shape for name in names}
    density = 0.8**10
    masks = lth.MaskSet(
        {n: torch.rand(s, generator=generator) < density for n, s in shapes.items()}
    )
    assert masks.sparsity == pytest.approx(0.8926, abs=0.001)
    lth.Ticket(masks).save(tmp_path / "mask")
    assert (tmp_path / "mask").stat().st_size <= 3.0e6
    state = {n: torch.zeros(t.shape) for n, t in model.state_dict().items() if "fc." not in n}
    lth.Ticket(masks, state).save(tmp_path / "survivors")
    assert (tmp_path / "survivors").stat().st_size <= 14e6
    assert lth.Ticket.load(tmp_path / "survivors").masks.digest() == masks.digest()


def test_meta_that_is_not_json_is_refused_and_nothing_is_written(tmp_path):
    endless: dict = {}
    endless["self"] = endless
    for meta in ({"model": Backbone()}, {"t": torch.ones(1)}, {1: 1, "a": 2}, endless):
        ticket = tiny()
        ticket.meta = meta
        with pytest.raises(TicketError, match="meta is not JSON"):
            ticket.save(tmp_path / "t")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(TicketError, match=r"ticket .*/t cannot be written: Not a directory"):
        tiny().save(tmp_path / "file" / "sub" / "t")
    (tmp_path / "full").mkdir()
    with pytest.raises(TicketError, match="cannot be written: Is a directory"):
        tiny().save(tmp_path / "full")
    tiny().save(tmp_path / "t")
    before = (tmp_path / "t").read_bytes()

    def refuse(*args, **kwargs):  # as a read-only directory does, from which root is exempt
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(TicketError, match="cannot be written: Permission denied"):
        tiny().save(tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == before
    assert set(os.listdir(tmp_path)) == {"file", "full", "t"}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_crash_while_saving_leaves_the_old_ticket(tmp_path, monkeypatch, failing):
    path = tmp_path / "t"
    tiny().save(path)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(TicketError, match="No space left on device"):
            tiny(weights=False).save(path)
    assert os.listdir(tmp_path) == ["t"]
    assert same_ticket(lth.Ticket.load(path), tiny())


def test_the_header_of_a_ticket_is_what_the_design_names(tmp_path):
    tiny().save(tmp_path / "t")
    raw = (tmp_path / "t").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert {"format", "shapes", "sparsity", "digest", "versions", "meta"} == set(
        json.loads(header["__metadata__"]["lth"])
    )
