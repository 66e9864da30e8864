"""Damaged, forged and malicious ticket files are refused, in one line."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import lth_core as lth
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_core import files
from lth_core.errors import LTHError, TicketError

from .helpers import trap
from .ticket_helpers import same_ticket, tiny


def sealed(header: dict, tensors: dict[str, torch.Tensor], path: Path) -> Path:
    files.save_tensors(path, tensors, header)
    return path


def outcome(path: Path) -> str:
    """The message of the error that loading gives, empty if it gives none."""
    try:
        lth.Ticket.load(path)
    except LTHError as problem:
        return str(problem)
    return ""


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
    with pytest.raises(TicketError, match="is a directory"):
        lth.Ticket.load(tmp_path)
