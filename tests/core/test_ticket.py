from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
from pathlib import Path

import lth_core as lth
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_core import files
from lth_core.errors import LTHError, TicketError
from torch import nn

from .helpers import (
    Backbone,
    Classifier,
    MMLike,
    MoCoLike,
    bits,
    mask_sets,
    random_masks,
    resnet,
    state_bits,
    trap,
)


def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model on the CPU with every tensor, running statistics included, drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
            else:
                tensor.zero_()
    return model


def tiny(weights: bool = True) -> lth.Ticket:
    masks = lth.MaskSet({"a.weight": torch.tensor([[True, False, True], [False, False, True]])})
    state = {"a.weight": torch.arange(1.0, 7.0).reshape(2, 3), "a.bias": torch.tensor([0.5])}
    return lth.Ticket(masks, state if weights else None, {"level": 1})


def sealed(header: dict, tensors: dict[str, torch.Tensor], path: Path) -> Path:
    files.save_tensors(path, tensors, header)
    return path


def same_ticket(one: lth.Ticket, other: lth.Ticket) -> bool:
    alike = one.masks == other.masks and one.meta == other.meta
    if one.weights is None or other.weights is None:
        return alike and one.weights is other.weights
    return (
        alike
        and one.weights.keys() == other.weights.keys()
        and all(
            tensor.dtype == other.weights[name].dtype
            and tensor.shape == other.weights[name].shape
            and bits(tensor) == bits(other.weights[name])
            for name, tensor in one.weights.items()
        )
    )


def outcome(path: Path) -> str:
    """The message of the error that loading gives, empty if it gives none."""
    try:
        lth.Ticket.load(path)
    except LTHError as problem:
        return str(problem)
    return ""


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


# ---------------------------------------------------------------------------------------------
# Damage


@pytest.mark.parametrize("weights", [True, False])
def test_every_flipped_bit_is_noticed(tmp_path, weights):
    path = tmp_path / "t"
    tiny(weights).save(path)
    good = path.read_bytes()
    unnoticed = []
    with open(path, "r+b", buffering=0) as file:  # in place, since thousands of files take long
        for position, byte in enumerate(good):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                if str(path) not in outcome(path):
                    unnoticed.append((position, bit))
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert not unnoticed
    assert path.read_bytes() == good
    assert same_ticket(lth.Ticket.load(path), tiny(weights))


def test_truncation_at_every_length_and_anything_appended_are_noticed(tmp_path):
    path = tmp_path / "t"
    tiny().save(path)
    good = path.read_bytes()
    for bad in (good + b"\0", good + good):
        path.write_bytes(bad)
        with pytest.raises(TicketError):
            lth.Ticket.load(path)
    path.write_bytes(good)
    for length in reversed(range(len(good))):
        os.truncate(path, length)
        with pytest.raises(TicketError):
            lth.Ticket.load(path)
    assert path.stat().st_size == 0


def refuses(path: Path) -> None:
    """Loading is one clean error, or gives what was saved: nothing in between."""
    message = outcome(path)
    assert message or same_ticket(lth.Ticket.load(path), tiny())
    assert "\n" not in message
    assert len(message) < 1000


def corrupted(draw) -> bytes:
    """A ticket's bytes with a few pieces overwritten, cut out, doubled or put in."""
    data = bytearray(_GOOD)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.binary(max_size=24) | st.sampled_from([b'"', b"}", b"\xff" * 8, b"0" * 64]))
        action = draw(st.sampled_from(["overwrite", "insert", "cut", "double"]))
        length = draw(st.integers(0, 64))
        if action == "overwrite":
            data[at : at + len(piece)] = piece
        elif action == "insert":
            data[at:at] = piece
        elif action == "cut":
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]
    return bytes(data)


def good_bytes() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        tiny().save(Path(directory) / "t")
        return (Path(directory) / "t").read_bytes()


_GOOD = good_bytes()
spoilt = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=100).map(lambda tail: len(tail).to_bytes(8, "little") + tail),
    st.composite(corrupted)(),
)


@given(spoilt)
def test_random_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(data)
    refuses(path)


# Headers that are well formed and carry a right checksum, with nonsense in them: a bug in another
# writer, or malice.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "a.weight", "../../etc/passwd", "mask/", "\0", "float32"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a.weight", "b", "level", ""]), inner, max_size=3)
    ),
    max_leaves=10,
)
arrays = st.sampled_from(
    [
        torch.tensor([0b100101], dtype=torch.uint8),
        torch.tensor([255], dtype=torch.uint8),
        torch.tensor([37, 0], dtype=torch.uint8),
        torch.zeros(0, dtype=torch.uint8),
        torch.tensor(37, dtype=torch.uint8),
        torch.tensor([37], dtype=torch.int64),
        torch.tensor([1.0, 3.0, 6.0]),
        torch.zeros(2, 3),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, dtype=torch.float8_e4m3fn),
        torch.zeros(0, 2**40),
    ]
)
keys = st.sampled_from(
    ["mask/a.weight", "survivors/a.weight", "dense/a.weight", "dense/a.bias", "mask/b", "x", ""]
)


@st.composite
def nonsense(draw):
    """Header and tensors of a good ticket with some parts replaced, added or left out."""
    header = {
        "format": 1,
        "shapes": {"a.weight": [2, 3]},
        "digest": tiny().masks.digest(),
        "sparsity": 0.5,
        "versions": {},
        "meta": {"level": 1},
    }
    content = {
        "mask/a.weight": torch.tensor([0b100101], dtype=torch.uint8),
        "survivors/a.weight": torch.tensor([1.0, 3.0, 6.0]),
        "dense/a.bias": torch.tensor([0.5]),
    }
    field = draw(st.sampled_from([*header, "tensors"]))
    if field == "tensors":
        for key in draw(st.lists(keys, max_size=3)):
            content.pop(key, None)
        content |= draw(st.dictionaries(keys, arrays, max_size=3))
    elif field == "shapes" and draw(st.booleans()):
        size = st.integers(-2, 7) | st.sampled_from([2**31, 2**62, 2**63, 2**70, 2.0, True, "2"])
        header["shapes"] = {"a.weight": draw(st.lists(size, max_size=5))}
    elif draw(st.booleans()):
        header[field] = draw(anything)
    else:
        del header[field]
    return header, content


def check_nonsense(path: Path, case) -> None:
    header, content = case
    try:
        files.save_tensors(path, content, header)
    except ValueError:  # JSON has no such number
        return
    message = outcome(path)
    # No error means harmless nonsense, in the versions for example.
    assert message or lth.Ticket.load(path).masks.digest() == header["digest"]
    assert "\n" not in message
    assert len(message) < 1000


@given(nonsense())
@settings(max_examples=200)
def test_sealed_nonsense_is_refused(tmp_path_factory, case):
    check_nonsense(tmp_path_factory.getbasetemp() / "nonsense", case)


@pytest.mark.long
@given(spoilt)
@settings(max_examples=8000)
def test_random_bytes_are_refused_thousands_of_times(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(data)
    refuses(path)


@pytest.mark.long
@given(nonsense())
@settings(max_examples=8000)
def test_sealed_nonsense_is_refused_thousands_of_times(tmp_path_factory, case):
    check_nonsense(tmp_path_factory.getbasetemp() / "nonsense", case)


MASK = {"mask/w": torch.tensor([0b101], dtype=torch.uint8)}
DIGEST = hashlib.sha256(bytes([0b101])).hexdigest()
HEADER = {"format": 1, "shapes": {"w": [3]}, "digest": DIGEST, "meta": {}}
SURVIVORS = {"survivors/w": torch.tensor([1.0, 2.0])}


@pytest.mark.parametrize(
    ("header", "tensors", "message"),
    [
        ({"format": 2}, {}, "format 2, this version reads 1"),
        ({"digest": "0" * 64}, {}, "another digest"),
        ({"digest": None}, {}, "another digest"),
        ({"shapes": {"w": [9]}}, {}, "takes 2 bytes, not 1"),
        ({"shapes": {"w": [2]}}, {}, "bits beyond its end"),
        ({"shapes": {"w": [-3]}}, {}, "whole numbers"),
        ({"shapes": {"w": [3.0]}}, {}, "whole numbers"),
        ({"shapes": {"w": [True]}}, {}, "whole numbers"),
        ({"shapes": {"w": [2**62, 2**62]}}, {}, "bytes, not 1"),
        (
            {"shapes": {"w": [0, 2**70]}},
            {"mask/w": torch.zeros(0, dtype=torch.uint8)},
            "inconsistent",
        ),
        ({"shapes": {"w": [1] * 100 + [3]}}, {}, "inconsistent"),
        ({"shapes": {"w": [3], "v": [3]}}, {}, "mask/v"),
        ({"shapes": {}}, {}, "unexpected tensor mask/w"),
        ({}, {"mask/v": torch.zeros(1)}, "unexpected tensor mask/v"),
        ({}, {"mask/w": torch.tensor([5.0])}, "not packed bits"),
        ({}, {"extra": torch.zeros(1)}, "unexpected tensor extra"),
        ({}, {"survivors/w": torch.zeros(3)}, "3 survivors for its mask"),
        ({}, {"survivors/w": torch.zeros(2, 1)}, "survivors for its mask"),
        ({}, {"survivors/v": torch.zeros(3)}, "v"),
        ({}, {"dense/b": torch.zeros(3)}, "w is missing"),
        ({"meta": [1]}, {}, "inconsistent: TypeError"),
    ],
)
def test_inconsistent_files_say_what_is_wrong(tmp_path, header, tensors, message):
    path = sealed(HEADER | header, MASK | tensors, tmp_path / "t")
    with pytest.raises(TicketError, match=message):
        lth.Ticket.load(path)


@pytest.mark.parametrize("field", ["format", "shapes", "digest", "meta"])
def test_missing_fields_are_noticed(tmp_path, field):
    header = {key: value for key, value in HEADER.items() if key != field}
    with pytest.raises(TicketError, match=f"inconsistent.*{field}"):
        lth.Ticket.load(sealed(header, MASK, tmp_path / "t"))
    assert lth.Ticket.load(sealed(HEADER, MASK | SURVIVORS, tmp_path / "t")).weights is not None


@pytest.mark.parametrize("writer", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
@pytest.mark.parametrize("name", ["t.safetensors", "t.pth"])
def test_a_pickle_in_disguise_is_not_executed(tmp_path, writer, name):
    writer({"masks": trap(tmp_path)}, tmp_path / name)
    with pytest.raises(TicketError, match="is not a ticket"):
        lth.Ticket.load(tmp_path / name)
    assert not (tmp_path / "marker").exists()


def test_no_file_empty_file_and_directory(tmp_path):
    with pytest.raises(TicketError, match=r"absent does not exist"):
        lth.Ticket.load(tmp_path / "absent")
    (tmp_path / "empty").touch()
    with pytest.raises(TicketError, match="is not a ticket"):
        lth.Ticket.load(tmp_path / "empty")
    with pytest.raises(TicketError, match="Is a directory"):
        lth.Ticket.load(tmp_path)


# ---------------------------------------------------------------------------------------------
# Applying one


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


def test_the_header_of_a_ticket_is_what_the_design_names(tmp_path):
    backbone_ticket().save(tmp_path / "t")
    raw = (tmp_path / "t").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert {"format", "shapes", "sparsity", "digest", "versions", "meta"} == set(
        json.loads(header["__metadata__"]["lth"])
    )
