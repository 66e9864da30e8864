"""Reading checkpoint files that others wrote: tensors only, no code, no more memory than the file.

A ``.pth`` file is a pickle, and ``torch.load(weights_only=True)`` runs none of its code. What it
does not guard against is checked here before and after: archives that unpack to more than they
are, and tensors that claim more memory than the file has.
"""

from __future__ import annotations

import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lth_core.errors import CheckpointError
from lth_core.scope import join_some, printable, strip_wrappers

CONTAINERS = ("state_dict", "model", "model_state_dict")
"""Keys under which checkpoints keep the model itself; their other keys hold something else."""

_DTYPES = {
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
_OPTIMIZERS = ("optimizer", "optim")
_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80"
_DEPTH = 4
_SLACK = 2**20
_SHARING = 8


_ENDINGS = re.compile(r"(\.(pth|pt|th|tar|ckpt|bin|pkl|npz|safetensors))+$")
_HASH = re.compile(r"[-_](\d{8}-)?[0-9a-f]{8}$")
_ANY = re.compile(
    r"(final|last|latest|best|model|checkpoint|rewind|ticket|(epoch|iter|checkpoint|best|level)_.*)"
)
"""Names of files, and of a chain's folders, that say nothing of what is in them."""


def stem(place: Any) -> str:
    """What a checkpoint is called, from its path or address: ``moco_v2_800ep_pretrain``.

    Endings and published files' hashes are left out. A name that any checkpoint might have
    (``final.pth``, ``epoch_12.pth``) is that of its folder; of a level of a chain, both.
    """
    *folders, name = str(place).rstrip("/").split("/")
    name = _HASH.sub("", _ENDINGS.sub("", name)) or name
    while _ANY.fullmatch(name.partition(" ")[0]) and folders and folders[-1] not in ("", ".", ".."):
        folder = folders.pop()
        name = f"{folder} {name}" if name.startswith("level_") else folder
    return name


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Attributes:
        container: Keys that lead to the model, for example ``"state_dict."``, else ``""``.
        model: The model's tensors, by name without wrappers' prefixes.
        beside: All other tensors but an optimizer's, by their keys joined with dots.
    """

    container: str
    model: dict[str, Tensor]
    beside: dict[str, Tensor]


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The model's tensors in a checkpoint by name, without wrappers' prefixes; never runs code.

    Raises:
        CheckpointError: If the file is missing, unreadable, or needs more than tensors.
    """
    return read_checkpoint(path).model


def read_checkpoint(path: str | Path) -> Checkpoint:
    """All tensors of a checkpoint; never runs code.

    Args:
        path: A ``.safetensors`` file, or anything :func:`torch.save` wrote.

    Raises:
        CheckpointError: If the file is missing, unreadable, or needs more than tensors.
    """
    path = Path(path)
    try:
        folder, missing = path.is_dir(), not path.is_file()
    except ValueError as problem:  # a name that no file can have
        raise CheckpointError(f"weights {str(path)!r} cannot be read: {problem}") from None
    if folder:
        raise CheckpointError(f"{path} is a directory; name the file in it")
    if missing:
        raise CheckpointError(f"checkpoint {path} does not exist (looked for {path.absolute()})")
    content = _read(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name")
    everything = dict(_flatten(content))
    _require_plain(path, everything)
    container, inner = "", content
    for _ in range(3):
        key = next((key for key in CONTAINERS if isinstance(inner.get(key), Mapping)), None)
        if key is None:
            break
        container, inner = f"{container}{key}.", inner[key]
    model: dict[str, Tensor] = {}
    for name, tensor in everything.items():
        if not name.startswith(container):
            continue
        # A part that was compiled by itself has its wrapper's name in the middle.
        plain = strip_wrappers(name[len(container) :]).replace("_orig_mod.", "")
        if plain in model:
            raise CheckpointError(f"{path} holds {plain} twice, once inside a wrapper")
        model[plain] = tensor
    beside = {n: t for n, t in everything.items() if not n.startswith(container)}
    return Checkpoint(container, model, beside)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        _refuse_bombs(path)
        with _inert_globals(), _untouched_memory(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: what is unknown is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise unreadable(path, problem) from None


def unreadable(path: str | Path, problem: Exception) -> CheckpointError:
    """The error, in one line, of a file on which torch or safetensors gave up with ``problem``."""
    return CheckpointError(
        f"{path} cannot be read as a checkpoint of tensors: {_reason(problem)}; a file that "
        "needs pickled code is refused, save its state_dict with torch.save instead"
    )


def _reason(problem: Exception) -> str:
    text = str(problem)
    if "Weights only load failed" in text:  # torch goes on about how to load it all the same
        needed = re.search(r"GLOBAL (\S+)", text)
        return (
            f"it needs {printable(needed[1])}"
            if needed
            else "it is damaged or needs more than tensors"
        )
    return printable(text.splitlines()[0] if text else type(problem).__name__, 200)


def _refuse_bombs(path: Path) -> None:
    """Refuses what takes more memory to read than the file is long."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(4)
    if start == _ARCHIVE:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > size:  # torch.save stores its entries as they are
            raise pickle.UnpicklingError(f"{size:,} bytes unpack to {unpacked:,}")
    elif not start.startswith(_PICKLE):
        raise pickle.UnpicklingError("it begins neither as an archive nor as a pickle")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # The one global that torch allows and that fills as much memory as a number says.
        if data.find(b"\nbytearray\n") >= 0:
            raise pickle.UnpicklingError("it makes byte arrays")


class _Inert:
    """Stands for an object that is no tensor: takes whatever it is given and keeps nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# What ordinary checkpoints keep beside their tensors: mmengine's logs, and settings.
_INERT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_Inert, "builtins.getattr"),  # of the logs' methods; as here, it gets nothing
    (_Inert, "argparse.Namespace"),
    (_Inert, "numpy.dtype"),
    (_Inert, "numpy.ndarray"),
    (_Inert, "numpy.core.multiarray.scalar"),
    (_Inert, "numpy.core.multiarray._reconstruct"),
    (_Inert, "numpy._core.multiarray.scalar"),
    (_Inert, "numpy._core.multiarray._reconstruct"),
]


@contextmanager
def _inert_globals() -> Iterator[None]:
    """Lets files hold the objects above without making them.

    What others have allowed is set aside, so that reading a file does not depend on who has been
    imported, and runs no code of theirs.
    """
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(_INERT)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


@contextmanager
def _untouched_memory() -> Iterator[None]:
    """Lets a tensor that a file claims and never fills stay an address, until it is refused.

    Deterministic algorithms would have torch fill it, however large.
    """
    settings: Any = torch.utils.deterministic  # properties that its type does not show
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before


def _flatten(content: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested mappings with its keys joined by dots, the outer ones first."""
    seen = {id(content)}
    level: list[tuple[str, Mapping[Any, Any]]] = [("", content)]
    for _ in range(_DEPTH):
        deeper = []
        for path, mapping in level:
            for key, value in mapping.items():
                if isinstance(value, Tensor):
                    yield f"{path}{key}", value
                elif (
                    isinstance(value, Mapping)
                    and id(value) not in seen  # or a few bytes could make a very large tree
                    and not str(key).startswith(_OPTIMIZERS)
                ):
                    seen.add(id(value))
                    deeper.append((f"{path}{key}.", value))
        level = deeper


def _require_plain(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A tensor may claim any size with strides of zero, or with no memory at all."""
    claimed = 0
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CheckpointError(
                f"{path}: {join_some([name])} is a sparse, quantized or empty-handed tensor; "
                "save it dense"
            )
        if tensor.dtype not in _DTYPES:
            raise CheckpointError(
                f"{path}: {join_some([name])} is {tensor.dtype}, with which nothing here computes; "
                "convert it to an ordinary dtype"
            )
        claimed += tensor.numel() * tensor.element_size()
    size = path.stat().st_size
    if claimed > _SHARING * size + _SLACK:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint of tensors: its tensors claim {claimed:,} "
            f"bytes, and the file has {size:,}"
        )
