"""Files that are either whole or not there: atomic writes and checksummed safetensors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from lth_core.errors import LTHError
from lth_core.scope import printable

CHECKSUM = "checksum"
_BLANK = "0" * 64
_MAX_HEADER = 2**25


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Writes ``data`` to ``path`` so that a crash leaves the old file or the new, never a part.

    A temporary file in the same directory is written, flushed to disk and renamed.

    Raises:
        OSError: If the directory cannot be written; the temporary file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def publish(part: Path, path: Path) -> None:
    """Gives a finished file its name, once it is on the disk.

    Raises:
        OSError: If it cannot be.
    """
    _sync(part)
    os.replace(part, path)
    _sync(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors and JSON metadata as one safetensors file whose every byte is checksummed.

    The same content gives the same bytes.

    Args:
        path: Where to; replaced atomically.
        tensors: By name. Copied to the CPU and made contiguous.
        meta: Anything JSON can hold.
    """
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory, as tied weights do.
        plain[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    text = json.dumps(meta, sort_keys=True, ensure_ascii=True)
    data = _sorted(safetensors.torch.save(plain, metadata={"lth": text, CHECKSUM: _BLANK}))
    field = _checksum_field(data)
    if field is None:
        raise AssertionError("the checksum field was just written")
    digest = hashlib.sha256(data).hexdigest().encode()
    write_atomic(path, data[:field] + digest + data[field + len(digest) :])


def load_tensors(
    path: str | Path, error: type[LTHError], what: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what :func:`save_tensors` wrote, after verifying its checksum.

    Args:
        path: The file.
        error: Which error to raise.
        what: What the file should be, for the message: "ticket", "rewind weights".

    Returns:
        Tensors by name, and the metadata.

    Raises:
        LTHError: As ``error``, if the file is missing, not such a file, or damaged anywhere.
    """
    path = Path(path)
    try:
        data = _read(path)
    except FileNotFoundError:
        raise error(f"{what} {path} does not exist (looked for {path.absolute()})") from None
    except IsADirectoryError:
        raise error(f"{path} is a directory; name the {what} in it") from None
    except OSError as problem:
        raise error(f"{what} {path} cannot be read: {problem.strerror}") from None
    except ValueError as problem:  # a name that no file can have
        raise error(f"{what} {str(path)!r} cannot be read: {problem}") from None
    field = None if data is None else _checksum_field(data)
    if data is None or field is None:
        raise error(f"{path} is not a {what}: it is no safetensors file with a checksum of lth's")
    stored, blank = data[field : field + 64], _BLANK.encode()
    sha = hashlib.sha256(data[:field])
    sha.update(blank)
    sha.update(memoryview(data)[field + 64 :])
    if sha.hexdigest().encode() != stored:
        raise error(f"{what} {path} is damaged: its checksum does not match; get or make it again")
    try:
        meta = json.loads(_header(data)["__metadata__"]["lth"])
        tensors = safetensors.torch.load(data)
    except Exception as problem:  # the checksum holds, so the writer was not lth's
        reason = printable(f"{type(problem).__name__}: {problem}", 300)
        raise error(f"{path} is not a {what}: {reason}") from None
    if not isinstance(meta, dict):
        raise error(f"{path} is not a {what}: its metadata is no JSON object")
    return tensors, meta


def _read(path: Path) -> bytes | None:
    """The whole file, or None if its beginning shows that it is none of lth's.

    So nothing large is read for nothing, and no size is believed that a header claims.

    Raises:
        OSError: If it cannot be read or is no file: a pipe would block, a device never end.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > min(status.st_size - 8, _MAX_HEADER):
            return None
        start += file.read(length)
        if _checksum_field(start) is None:
            return None
        return start + file.read()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _sorted(data: bytes) -> bytes:
    """The same file with the keys of its header in order; safetensors leaves it to chance."""
    header = json.dumps(_header(data), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors start on a multiple of 8
    body = memoryview(data)[8 + int.from_bytes(data[:8], "little") :]
    return b"".join((len(header).to_bytes(8, "little"), header, body))


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("truncated header")
    header = json.loads(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("header is no JSON object")
    return header


def _checksum_field(data: bytes) -> int | None:
    """Offset of the 64 hexadecimal digits of the checksum, None if ``data`` has no such field."""
    try:
        value = _header(data)["__metadata__"][CHECKSUM]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(value, str) or len(value) != 64 or not value.isascii():
        return None
    key = f'"{CHECKSUM}":"{value}"'.encode()
    length = int.from_bytes(data[:8], "little")
    start = data.find(key, 8, 8 + length)
    return start + len(key) - 65 if start >= 0 else None
