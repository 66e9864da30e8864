from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from pathlib import Path

import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core.errors import RunError, TicketError
from lth_core.files import load_tensors, save_tensors, write_atomic

from .helpers import bits

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
dtypes = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8]


@st.composite
def tensors(draw):
    layout = draw(st.dictionaries(st.text(max_size=6), st.sampled_from(dtypes), max_size=3))
    result = {}
    for name, dtype in layout.items():
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        count = int(torch.tensor(shape, dtype=torch.int64).prod())
        size = count * torch.empty(0, dtype=dtype).element_size()
        data = bytearray(draw(st.binary(min_size=size, max_size=size)))
        flat = torch.frombuffer(data, dtype=dtype) if size else torch.empty(0, dtype=dtype)
        result[name] = flat.reshape(shape)  # any bits: NaN with payload, -0.0, subnormal
    return result


def entries(directory: Path) -> set[str]:
    return set(os.listdir(directory))


# ---------------------------------------------------------------------------------------------
# write_atomic


@pytest.mark.parametrize("data", [b"\x00\xff", b"", "text – θ"])
def test_writes_what_it_is_given(tmp_path, data):
    path = tmp_path / "new" / "deep" / "file"
    write_atomic(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert entries(path.parent) == {"file"}


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", b"")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("old", [b"old content", None])
@pytest.mark.parametrize("failing", ["fsync", "replace", "chmod", "write"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, failing, error, old
):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    before = len(os.listdir("/proc/self/fd"))

    def fail(*args, **kwargs):
        raise error

    def open_failing(descriptor, mode):
        class Full(io.FileIO):
            write = fail

        return Full(descriptor, mode)

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(os, "fdopen", open_failing)
        else:
            patch.setattr(os, failing, fail)
        with pytest.raises(type(error)):
            write_atomic(path, b"new content")
    assert (path.read_bytes() if path.exists() else None) == old
    assert entries(tmp_path) == ({"file"} if old is not None else set())
    assert len(os.listdir("/proc/self/fd")) == before


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path = tmp_path / "file"
    order = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if Path(target) == tmp_path:
            order.append("directory")
        else:
            assert Path(target).parent == tmp_path
            order.append(Path(target).read_bytes())
        fsync(descriptor)

    def replaced(source, target):
        order.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomic(path, b"content")
    assert order == [b"content", "rename", "directory"]


# ---------------------------------------------------------------------------------------------
# Checksummed tensors


@given(tensors(), st.dictionaries(st.text(max_size=4), json_values, max_size=3))
def test_tensors_and_metadata_round_trip(tmp_path_factory, content, meta):
    path = tmp_path_factory.mktemp("t") / "file.safetensors"
    save_tensors(path, content, meta)
    back, back_meta = load_tensors(path, TicketError, "ticket")
    assert back_meta == meta
    assert set(back) == set(content)
    for name, tensor in content.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert bits(back[name]) == bits(tensor)


def test_the_file_is_one_that_safetensors_itself_reads(tmp_path):
    path = tmp_path / "file.safetensors"
    save_tensors(path, {"a": torch.arange(6).reshape(2, 3)}, {"key": [1, "θ"]})
    with safetensors.safe_open(path, "pt") as file:
        assert file.get_tensor("a").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert json.loads(file.metadata()["lth"]) == {"key": [1, "θ"]}
        stored = file.metadata()["checksum"]
    blank = path.read_bytes().replace(stored.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == stored


def test_same_content_same_bytes(tmp_path):
    content, meta = {"b": torch.arange(5.0), "a": torch.ones(2)}, {"x": 1, "y": 2}
    written = set()
    for attempt in range(8):
        if attempt % 2:
            content, meta = (dict(reversed(part.items())) for part in (content, meta))
        save_tensors(tmp_path / "file", content, meta)
        written.add((tmp_path / "file").read_bytes())
    (data,) = written
    assert int.from_bytes(data[:8], "little") % 8 == 0  # where readers may map the tensors


def test_views_and_tied_tensors_are_kept_apart(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    content = {"all": base, "same": base, "row": base[1], "column": base[:, 1], "t": base.T}
    save_tensors(tmp_path / "file", content, {})
    back, _ = load_tensors(tmp_path / "file", TicketError, "ticket")
    assert {name: tensor.tolist() for name, tensor in back.items()} == {
        name: tensor.tolist() for name, tensor in content.items()
    }


def test_a_part_of_a_large_tensor_is_stored_alone(tmp_path):
    save_tensors(tmp_path / "file", {"part": torch.zeros(1_000_000)[:3]}, {})
    assert (tmp_path / "file").stat().st_size < 1000


def test_a_checksum_lookalike_in_the_metadata_does_not_confuse(tmp_path):
    tricky = {'"checksum":"' + "0" * 64 + '"': '"checksum":"' + "0" * 64 + '"', "checksum": "0"}
    save_tensors(tmp_path / "file", {'"checksum":"': torch.ones(1)}, tricky)
    _, meta = load_tensors(tmp_path / "file", TicketError, "ticket")
    assert meta == tricky


@pytest.mark.parametrize("error", [TicketError, RunError])
def test_errors_are_of_the_kind_asked_for_and_name_the_file(tmp_path, error):
    with pytest.raises(error, match=r"rewind weights .*absent does not exist"):
        load_tensors(tmp_path / "absent", error, "rewind weights")
    with pytest.raises(error, match="is a directory; name the rewind weights in it"):
        load_tensors(tmp_path, error, "rewind weights")
    with pytest.raises(error, match="null byte"):
        load_tensors("a\0b", error, "rewind weights")
    save_tensors(tmp_path / "file", {"a": torch.ones(3)}, {})
    data = bytearray((tmp_path / "file").read_bytes())
    data[-1] ^= 1
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(error, match=r"file is damaged: its checksum does not match"):
        load_tensors(tmp_path / "file", error, "rewind weights")


@pytest.mark.parametrize("header", [b"[1]", b"{}", b'{"__metadata__":{}}', b"[" * 100_000, b"\xff"])
def test_other_safetensors_like_files_are_refused(tmp_path, header):
    path = tmp_path / "file"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(TicketError, match="is not a ticket"):
        load_tensors(path, TicketError, "ticket")
    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    with pytest.raises(TicketError, match="no safetensors file with a checksum"):
        load_tensors(path, TicketError, "ticket")
