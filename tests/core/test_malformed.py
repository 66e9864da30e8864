"""Bad files, of every kind that is read: one error of lth's each, quickly, and nothing executed.

The quick set runs always; the long one (``-m long``) has more than ten thousand cases.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import warnings
import zipfile
from pathlib import Path

import lth_core as lth
import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lth_core import files
from lth_core.backbones import read_backbone
from lth_core.errors import LTHError
from lth_core.exchange import import_tickets

from .helpers import Backbone, random_masks, trap

SECONDS = 1.0
MEGABYTES = 64
LONG = 2200  # examples of each long test


def read_ticket(path: Path) -> object:
    return lth.Ticket.load(path)


def read_weights(path: Path) -> object:
    return read_backbone(path)


def read_mask_files(path: Path) -> object:
    return import_tickets([path, path], path)


READERS = (read_ticket, read_weights, read_mask_files)


def outcomes(data: bytes, directory: Path, names: tuple[str, ...] = ("f.pth",)) -> list[str]:
    """The messages of all readers on a file of this content; "" where one read it.

    Asserts what holds for each: an error of lth's on one short line, in bounded time.
    """
    messages = []
    for name in names:
        path = directory / name
        path.write_bytes(data)
        for reader in READERS:
            started = time.thread_time()  # other work may share the cores
            message = ""
            try:
                reader(path)
            except LTHError as problem:
                message = str(problem)
                assert message
                assert message.isprintable(), message
                assert len(message) < 1500 + 4 * len(str(path))
            assert time.thread_time() - started < SECONDS, (reader, name)
            messages.append(message)
    return messages


def refused(data: bytes, directory: Path) -> None:
    assert all(outcomes(data, directory, ("f.pth", "f.safetensors", "f")))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("malformed")


def made(write) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "file")
        return (Path(place) / "file").read_bytes()


def torch_saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


MODEL = Backbone()
MASKS = random_masks(MODEL)
PRUNED = {f"{name}_mask": mask.float() for name, mask in MASKS.items()} | {
    f"{name}_orig" if name in MASKS else name: t for name, t in MODEL.state_dict().items()
}
GOOD = [
    made(lth.Ticket(MASKS, MODEL.state_dict(), {"level": 1}).save),
    made(lth.Ticket(MASKS).save),
    torch_saved({"state_dict": PRUNED, "epoch": 3}),
    torch_saved(PRUNED, _use_new_zipfile_serialization=False),
    safetensors.torch.save(PRUNED),
]


def test_the_good_ones_are_good(directory):
    """So that what follows starts from files that are read."""
    assert outcomes(GOOD[0], directory, ("f.safetensors",))[:2] == ["", ""]
    for data in GOOD[2:4]:
        assert outcomes(data, directory)[1:] == ["", ""]
    assert outcomes(GOOD[4], directory, ("f.safetensors",))[1:] == ["", ""]


# ---------------------------------------------------------------------------------------------
# Any bytes


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    """A good file with pieces overwritten, put in, cut out or doubled, or its end cut off."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    # Half of the damage goes where the structure is: into the first bytes.
    positions = st.integers(0, len(data)) | st.integers(0, 600)
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(positions), draw(st.integers(0, 64))
        piece = draw(
            st.binary(max_size=16)
            | st.sampled_from([b"\xff" * 8, b'"', b"]", b"{", b"0", b"\x80\x02", b"c", b"R", b"."])
        )
        action = draw(st.sampled_from(["overwrite", "insert", "cut", "double", "truncate"]))
        if action == "overwrite":
            data[at : at + len(piece)] = piece
        elif action == "insert":
            data[at:at] = piece
        elif action == "cut":
            del data[at : at + length]
        elif action == "double":
            data[at:at] = data[at : at + length]
        else:
            del data[at:]
    return bytes(data)


any_bytes = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=100).map(lambda tail: len(tail).to_bytes(8, "little") + tail),
    st.sampled_from([b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x1f\x8b"]).flatmap(
        lambda magic: st.binary(max_size=100).map(lambda tail: magic + tail)
    ),
    corrupted(),
)


def check_any_bytes(data: bytes, directory: Path) -> None:
    outcomes(data, directory, ("f.pth", "f.safetensors"))


@given(any_bytes)
@settings(max_examples=150)
def test_any_bytes(directory, data):
    check_any_bytes(data, directory)


@pytest.mark.long
@given(any_bytes)
@settings(max_examples=2 * LONG)
def test_any_bytes_thousands_of_times(directory, data):
    check_any_bytes(data, directory)


# ---------------------------------------------------------------------------------------------
# Well-formed safetensors files with any header: no writer of safetensors' own is involved

sizes = st.sampled_from([0, 1, 2, 3, 6, 8, 2**31, 2**53, 2**63, 2**64, -1, 1.5, "4", None])
tensor_names = st.sampled_from(
    [
        "mask/w",
        "survivors/w",
        "dense/w",
        "dense/../../../etc/passwd",
        "../../marker",
        "/etc/passwd",
        "layer1.0.conv1.weight",
        "layer1.0.conv1.weight_mask",
        "layer1.0.conv1.weight_orig",
        "a\nb\x1b[31m.weight",
        "backbone." * 50,
        "",
    ]
)


@st.composite
def headers(draw: st.DrawFn) -> dict:
    shape = st.lists(sizes, max_size=3)
    kind = st.sampled_from(["F32", "U8", "BOOL", "F64", "F8_E4M3", "I64", "C64", "X", 3, None])
    offsets = st.lists(sizes, max_size=3) | st.sampled_from([[0, 8], [0, 4], [8, 16], [0, 24]])
    entry = st.fixed_dictionaries({"dtype": kind, "shape": shape, "data_offsets": offsets})
    fitting = st.sampled_from(
        [
            {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            {"dtype": "U8", "shape": [1], "data_offsets": [8, 9]},
            {"dtype": "F32", "shape": [1, 1, 1, 1], "data_offsets": [8, 12]},
            {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [8, 8]},
            {"dtype": "U8", "shape": [3], "data_offsets": [9, 12]},
        ]
    )
    return draw(st.dictionaries(tensor_names, fitting | entry | st.none(), max_size=4))


@st.composite
def lth_meta(draw: st.DrawFn) -> str:
    inner = {
        "format": draw(st.sampled_from([1, 1, 1, 2, "1", None, 10**30])),
        "shapes": draw(
            st.sampled_from([{}, [], None, {"w": 3}, {"w": None}, {"w": "33"}])
            | st.dictionaries(tensor_names.map(lambda n: n[5:]), st.lists(sizes, max_size=70))
        ),
        "digest": draw(st.sampled_from(["", "0" * 64, None, []])),
        "meta": draw(st.sampled_from([{}, None, [], {"level": "x"}, "m"])),
    }
    for key in draw(st.sets(st.sampled_from(list(inner)), max_size=2)):
        del inner[key]
    return json.dumps(inner)


def sealed(header: dict, body: bytes, meta: str | None) -> bytes:
    """As lth seals its files, so that only the content can be what is wrong."""
    if meta is not None:
        header = header | {"__metadata__": {"lth": meta, files.CHECKSUM: "0" * 64}}
    text = json.dumps(header, separators=(",", ":")).encode()
    data = struct.pack("<Q", len(text)) + text + body
    field = files._checksum_field(data)
    if field is None:
        return data
    import hashlib

    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:field] + digest + data[field + 64 :]


any_safetensors = st.builds(sealed, headers(), st.binary(max_size=24), st.none() | lth_meta())


@given(any_safetensors)
@settings(max_examples=150)
def test_any_safetensors(directory, data):
    outcomes(data, directory, ("f.safetensors",))


@pytest.mark.long
@given(any_safetensors)
@settings(max_examples=2 * LONG)
def test_any_safetensors_thousands_of_times(directory, data):
    outcomes(data, directory, ("f.safetensors",))


# ---------------------------------------------------------------------------------------------
# Well-formed pickles with any content


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such tensors are deprecated, but files have them
        return torch.quantize_per_tensor(torch.zeros(2, 2), 1.0, 0, torch.quint8)


leaves = st.sampled_from(
    [
        torch.zeros(2, 2, 3, 3),
        torch.ones(4, 4, 3, 3),
        torch.full((4, 4, 3, 3), 0.5),
        torch.zeros(()),
        torch.zeros(0, 2**40),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(4, 4, dtype=torch.float8_e4m3fn),
        torch.ones(4, 4, 3, 3, dtype=torch.bool),
        torch.tensor([float("nan")]),
        torch.zeros(1).expand(2**20, 2**20),
        torch.zeros(2, 2).to_sparse(),
        torch.empty(2**20, 2**20, device="meta"),
        quantized(),
        None,
        3,
        "text",
        b"bytes",
        float("inf"),
    ]
)
content_names = st.sampled_from(
    [
        "state_dict",
        "model",
        "mask",
        "optimizer",
        "layer1.0.conv1.weight",
        "layer1.0.conv1.weight_mask",
        "layer1.0.conv1.weight_orig",
        "layer1.0.conv2.weight_mask",
        "layer1.99999999.conv1.weight",
        "layer99999999.0.conv1.weight",
        "module.encoder_q.layer1.0.conv1.weight_mask",
        "encoder_k.layer1.0.conv1.weight_mask",
        "net.1.blocks.0.net.0.weight",
        "a.backbone.0.weight",
        "b.backbone.0.weight",
        "module.",
        "module.module.",
        "_mask",
        "_orig",
        "",
        "x\n\x1b[2J.weight",
        "." * 3000,
        0,
    ]
)
contents = st.recursive(
    leaves,
    lambda inner: st.dictionaries(content_names, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=8,
)
any_pickle = st.dictionaries(content_names, contents, max_size=5) | contents


@pytest.mark.filterwarnings("ignore")
@given(any_pickle)
@settings(max_examples=150)
def test_any_pickle(directory, content):
    outcomes(torch_saved(content), directory)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@given(any_pickle)
@settings(max_examples=LONG)
def test_any_pickle_thousands_of_times(directory, content):
    outcomes(torch_saved(content), directory)


# ---------------------------------------------------------------------------------------------
# Pickles that call: every callable that a state dict's reader allows, with any arguments


def calling(module: str, name: str, arguments: tuple) -> bytes:
    """A pickle of ``module.name(*arguments)`` as torch's format has it, in an archive of its."""
    inside = pickle.dumps(arguments, protocol=2)[2:-1]
    return archived(b"\x80\x02c" + f"{module}\n{name}\n".encode() + inside + b"R.")


def archived(data: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
        for name, content in more.items():
            archive.writestr(f"archive/data/{name}", content)
    return buffer.getvalue()


numbers = st.sampled_from([0, 1, 3, -1, 2**31, 2**36, 2**40, 2**62, 2**70, 1.5, None, "x", b"x"])
callables = st.sampled_from(
    [
        ("builtins", "bytearray"),
        ("__builtin__", "bytearray"),
        ("builtins", "set"),
        ("builtins", "complex"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("os", "system"),
        ("posix", "system"),
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("torch", "Tensor"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch.storage", "UntypedStorage"),
        ("torch", "FloatStorage"),
        ("_codecs", "encode"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage"),
        ("torch.nn.parameter", "Parameter"),
        ("argparse", "Namespace"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "scalar"),
        ("mmengine.logging.history_buffer", "HistoryBuffer"),
        ("lth_core.ticket", "Ticket"),
    ]
)
any_call = st.builds(
    lambda what, arguments: calling(*what, tuple(arguments)),
    callables,
    st.lists(numbers | st.lists(numbers, max_size=2).map(tuple), max_size=4),
)


@pytest.mark.filterwarnings("ignore")
@given(any_call)
@example(calling("builtins", "bytearray", (2**36,)))
@example(calling("torch", "Tensor", (2**36,)))
@settings(max_examples=100)
def test_any_call(directory, data):
    refused(data, directory)


@pytest.mark.parametrize("name", ["Tensor", "LongTensor"])
def test_no_call_fills_memory_under_deterministic_algorithms(directory, name):
    """Which have torch fill what it allocates: 8 GiB took 4 s."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        refused(calling("torch", name, (2**31,)), directory)
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@given(any_call)
@settings(max_examples=LONG)
def test_any_call_thousands_of_times(directory, data):
    outcomes(data, directory)


@pytest.mark.parametrize("name", ["f.pth", "f.safetensors", "f.pth.tar", "f.pt", "f"])
@pytest.mark.parametrize(
    "write",
    [
        torch_saved,
        lambda content: torch_saved(content, _use_new_zipfile_serialization=False),
        lambda content: pickle.dumps(content, protocol=2),
        lambda content: pickle.dumps(content, protocol=5),
        lambda content: struct.pack("<Q", 2) + b"{}" + pickle.dumps(content, protocol=2),
        lambda content: archived(pickle.dumps(content, protocol=2)),
    ],
    ids=["zip", "legacy", "pickle 2", "pickle 5", "safetensors and pickle", "archive"],
)
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": {"w": t}}])
def test_no_pickle_is_executed(tmp_path, write, name, wrap):
    data = write(wrap(trap(tmp_path)))
    for reader in READERS:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LTHError):
            reader(tmp_path / name)
    assert not (tmp_path / "marker").exists()


# ---------------------------------------------------------------------------------------------
# Bombs


def long_name_header() -> bytes:
    return json.dumps({"." * 500_000: None}).encode()


BOMBS = {
    "nested lists": struct.pack("<Q", 2_000_000) + b"[" * 2_000_000,
    "nested objects": struct.pack("<Q", 1_000_000) + b'{"a":' * 200_000,
    "header longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "header of four gigabytes": struct.pack("<Q", 2**32) + b"{}",
    "long number": struct.pack("<Q", 1_000_000) + b'{"__metadata__":' + b"9" * 999_983 + b"}",
    "long name": struct.pack("<Q", len(long_name_header())) + long_name_header(),
    "compressed zeros": archived(bytes(2**26), zipfile.ZIP_DEFLATED),
    "compressed storage": archived(
        pickle.dumps({}, protocol=2), zipfile.ZIP_DEFLATED, **{"0": bytes(2**26)}
    ),
    "nested pickle": archived(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."),
    "shape of many sizes": sealed(
        {"mask/w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}},
        b"\0",
        json.dumps({"format": 1, "shapes": {"w": [9] * 400_000}, "digest": "", "meta": {}}),
    ),
    "tensor of many bytes": sealed(
        {"w": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}, b"\0", "{}"
    ),
}


def peak_memory() -> int:
    """Most bytes this process has had in memory since the peak was reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(directory, name):
    refused(BOMBS[name], directory)  # once for what is only imported now
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = peak_memory()
    refused(BOMBS[name], directory)
    assert peak_memory() - before < MEGABYTES * 2**20


def test_a_tensor_that_shares_memory_with_itself_is_no_reason_to_take_more(directory):
    whole = torch.zeros(2**18)
    data = torch_saved({f"layer1.0.conv{i}.weight": whole.view(512, 512, 1, 1) for i in range(99)})
    assert all("claim" in m or "not a ticket" in m for m in outcomes(data, directory))
    tied = {"layer1.0.conv1.weight": whole.view(512, 512, 1, 1)}
    tied["layer1.0.conv2.weight"] = tied["layer1.0.conv1.weight"]
    assert outcomes(torch_saved(tied), directory)[1] == ""


@pytest.mark.parametrize("name", ["large.safetensors", "large.pth"])
@pytest.mark.parametrize("start", [b"", b"PK\x03\x04", b"\xff" * 8, struct.pack("<Q", 2**33)])
def test_files_of_many_gigabytes_are_refused_by_their_first_bytes(tmp_path, name, start):
    path = tmp_path / name
    path.write_bytes(start)
    os.truncate(path, 2**36)  # without taking the room
    for reader in READERS:
        started = time.thread_time()
        with pytest.raises(LTHError):
            reader(path)
        assert time.thread_time() - started < SECONDS


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_neither_blocks_nor_ends_otherwise(tmp_path, make):
    make(tmp_path / "f")
    for path in (tmp_path / "f", Path("/dev/zero"), Path("/dev/null")):
        for reader in READERS:
            with pytest.raises(LTHError):
                reader(path)


@pytest.mark.parametrize("name", ["../../escape", "/tmp/escape", "a\0b", "C:\\escape", "~/escape"])
def test_names_are_never_paths(tmp_path, name, monkeypatch):
    """A weight may be called anything: it is written to and read from nowhere else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    mask = torch.tensor([[True, False]])
    lth.Ticket(lth.MaskSet({name: mask}), {name: torch.ones(1, 2)}).save("in/t")
    assert set(lth.Ticket.load("in/t").masks) == {name}
    torch.save({f"{name}_mask": mask.float()}, "in/m.pth")
    (ticket,) = import_tickets(["in/m.pth"])
    ticket.save("in/u")
    assert {str(p) for p in Path().rglob("*")} == {"in", "in/t", "in/m.pth", "in/u"}
