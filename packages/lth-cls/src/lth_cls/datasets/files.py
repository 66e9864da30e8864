"""Files of published data sets, found and checked before they are used; nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import pickle
import zlib
from pathlib import Path

from lth_core.openmmlab.embedded import DataError

ROOT = "set LTH_DATA_ROOT, or the data_root of the config, to where it is"

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    pickle.UnpicklingError,
    zlib.error,
)
"""What readers of pickles, archives and matrices raise on bytes that are not what they expect."""


def require(path: Path, source: str) -> Path:
    """The file, if it is there.

    Args:
        path: Where it should be.
        source: Where it comes from, for the message.

    Raises:
        DataError: If it is not there, or no file.
    """
    if path.is_file():
        return path
    what = "is no file" if path.exists() else "does not exist"
    raise DataError(f"{path} {what} (looked for {path.absolute()}); {source}; {ROOT}")


def require_published(path: Path, md5: str | None, source: str) -> Path:
    """The file, if it is there and is the one that was published.

    Args:
        path: Where it should be.
        md5: Its MD5 as a hexadecimal number; None if any will do.
        source: Where it comes from, for the message.

    Raises:
        DataError: If it is missing, cut short or another.
    """
    require(path, source)
    if md5 is not None:
        stat = path.stat()
        found = _md5(str(path), stat.st_size, stat.st_mtime_ns)
        if found != md5:
            raise damaged(path, f"its MD5 is {found}, that of the published file {md5}", source)
    return path


def damaged(path: Path, problem: object, source: str) -> DataError:
    """The error of a file that is there, but cut short or another one.

    Args:
        path: The file.
        problem: What is wrong with it.
        source: Where it comes from.
    """
    reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    return DataError(f"{path.absolute()} is cut short or another file: {reason}; {source} again")


@functools.lru_cache(maxsize=64)
def _md5(path: str, size: int, modified: int) -> str:
    """MD5 of a file; its size and time of change only tell versions of it apart.

    A chain of rounds opens the same files at each level.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
