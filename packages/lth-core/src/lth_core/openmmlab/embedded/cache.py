"""Folders that are made once: written aside, checked, and renamed into place."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lth_core.errors import LTHError

ENVIRONMENT_VARIABLE = "LTH_DATA_ROOT"
MANIFEST = "manifest.json"


class DataError(LTHError):
    """Data is missing, cannot be made, or is asked for in a way that does not exist."""


def data_root() -> Path:
    """Where made data is kept: ``$LTH_DATA_ROOT``, else ``lth`` in the user's cache folder."""
    if chosen := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "lth"


def content_digest(folder: Path) -> str:
    """SHA-256 over the names and the bytes of all files of a folder but its manifest."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def is_sound(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder was made with these settings and still holds every byte of it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest == {"settings": settings, "sha256": content_digest(folder)}
    except (OSError, ValueError):
        return False


def cached(name: str, settings: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """A folder that ``build`` fills, made at most once for the same settings.

    Several processes may ask at the same time, and any of them may be killed: what is found at
    the returned place is always complete. A folder that fails its check is made again.

    Args:
        name: First part of the folder's name.
        settings: All that the content follows from, as JSON types; kept in the manifest.
        build: Fills an empty folder.

    Returns:
        The folder, inside `data_root`.
    """
    # Through JSON and back, so that a tuple here equals the list in a manifest.
    text = json.dumps(settings, sort_keys=True)
    settings = json.loads(text)
    root = data_root()
    target = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if is_sound(target, settings):
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _only_one(root / f".{target.name}.lock"):
            # Another process may have made it while this one waited.
            if not is_sound(target, settings):
                _make(target, settings, build)
    except OSError as error:
        raise DataError(
            f"cannot write the data {target.name} into {root} ({error.strerror or error}): "
            f"set {ENVIRONMENT_VARIABLE} to a folder with space that you may write to"
        ) from error
    return target


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Lets one process in at a time; the lock of a killed process is free again."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(target: Path, settings: Mapping[str, Any], build: Callable[[Path], None]) -> None:
    """Builds beside the target and renames; the caller holds the lock."""
    aside = f".{target.name}.part-"
    for left_behind in target.parent.glob(f"{aside}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=aside, dir=target.parent))
    try:
        build(part)
        manifest = {"settings": settings, "sha256": content_digest(part)}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        part.chmod(0o755)  # mkdtemp keeps others out
        if target.exists():
            # A rename cannot replace a folder with content: put the damaged one away first.
            target.rename(part.with_name(f"{part.name}-damaged"))
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(part.with_name(f"{part.name}-damaged"), ignore_errors=True)
