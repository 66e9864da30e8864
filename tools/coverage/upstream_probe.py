"""One upstream config: is its model built, is its scope found, and does a ticket of it hold?

Each step is what a training from a ticket does, by lth's own code. What is cheaper than there is
said in the report: initialisers draw nothing, and backbones that are alike share a ticket. Every
model is built.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import importlib
import importlib.metadata
import logging
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lth_core as lth
import torch
from lth_core.openmmlab import TicketHook
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.reinit import drop_pretrained
from lth_core.openmmlab.settings import parse_ticket
from lth_core.scope import locate
from mmengine.model import base_module, weight_init
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from upstream_reasons import WORKS, PieceError, WrongError, explain

LIBRARIES = {"mmdet": "mmdet", "mmseg": "mmsegmentation", "mmpretrain": "mmpretrain"}
"""Distributions by the name that they are imported under."""

AMOUNT = 0.8
KINDS = ("conv", "linear")
HALF_FROM = 300_000_000
"""From so many parameters on a model is cast to half precision, to spare memory."""

MASK_ALONE_FROM = 60_000_000
"""From so many weights in scope on a ticket is a mask alone: the model keeps its own values."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A config to look at: ``library::path``."""

    library: str
    path: str

    @property
    def config(self) -> str:
        """As lth's tools and ``_base_`` take it."""
        return f"{self.library}::{self.path}"

    @property
    def family(self) -> str:
        """Its folder: the method."""
        return self.path.partition("/")[0]


@dataclass
class Row:
    """What became of a config.

    Attributes:
        config: ``library::path``.
        version: Of the library, as in ``mmdet 3.3.0``.
        status: One of :data:`upstream_reasons.GROUPS`.
        reason: Why it does not work, in a few words; what is the same for several reads the same.
        note: The error itself.
        model: Class of the model.
        backbone: Class of what holds the scope.
        prefix: Where in the model that is.
        twins: Where copies of it are.
        parameters: Of the whole model.
        masks: Number of weight tensors in scope.
        weights: Number of weights in scope.
        kept: How many of them the ticket keeps.
        loaded: Number of tensors that the ticket has set, out of ``tensors``.
        tensors: Number of tensors of the backbone.
        made_of: The same for models whose backbones have the same tensors at the same place.
        as_in: The config of such a model to which the ticket was applied, if it was not this one.
        seconds: Time taken.
    """

    config: str
    version: str
    status: str = WORKS
    reason: str = ""
    note: str = ""
    model: str = ""
    backbone: str = ""
    prefix: str = ""
    twins: str = ""
    parameters: int = 0
    masks: int = 0
    weights: int = 0
    kept: int = 0
    loaded: int = 0
    tensors: int = 0
    made_of: str = ""
    as_in: str = ""
    seconds: float = 0.0


@functools.cache
def version(library: str) -> str:
    """Of an installed library, as in ``mmdet 3.3.0``."""
    return f"{library} {importlib.metadata.version(LIBRARIES[library])}"


def configs_of(library: str) -> tuple[list[str], int]:
    """The configs in a library's wheel, and how many pieces for them lie in ``_base_`` folders."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        return [], 0
    root = Path(spec.origin).parent / ".mim" / "configs"
    paths = sorted(path.relative_to(root) for path in root.rglob("*.py"))
    whole = [path.as_posix() for path in paths if "_base_" not in path.parts]
    return whole, len(paths) - len(whole)


def prepare(library: str) -> None:
    """Makes this process ready for a library's configs.

    Teachers' configs are named relative to the library's repository, from whose root upstream's
    tools are run; some norms want a process group, which a launcher would have started.
    """
    module = importlib.import_module(library)
    os.chdir(Path(str(module.__file__)).parent / ".mim")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    gc.freeze()  # collecting looks through all that was ever imported otherwise


def probe(order: Order, seen: dict[str, Row], folder: Path) -> Row:
    """What becomes of a config; never raises for reasons that lie in the config.

    Args:
        order: The config.
        seen: Rows whose tickets were right, by what their backbones are made of; added to.
        folder: Where a ticket's file may lie for a moment.
    """
    row = Row(order.config, version(order.library))
    begun = time.perf_counter()
    try:
        _examine(order, seen, folder, row)
    except Exception as problem:
        row.status, row.reason, row.note = explain(order.config, problem)
    if not row.as_in:  # much was written; what is only built is hardly there
        gc.collect()
    row.seconds = round(time.perf_counter() - begun, 2)
    return row


def _examine(order: Order, seen: dict[str, Row], folder: Path, row: Row) -> None:
    cfg = load_config(order.config)
    wanted = cfg.get("model")
    if not isinstance(wanted, dict) or "type" not in wanted:
        raise PieceError
    init_default_scope(cfg.get("default_scope") or order.library)
    drop_pretrained(wanted)
    _drop_checkpoints(wanted)
    with cheap_start():
        model: Any = MODELS.build(wanted)
    with cheap_start(also_means=True):
        try:
            model.init_weights()
        except Exception as problem:  # which does not keep it from starting at published weights
            row.note = f"no fresh start: {explain(order.config, problem)[2]}"
    row.model = type(model).__name__
    row.parameters = sum(parameter.numel() for parameter in model.parameters())
    if row.parameters >= HALF_FROM:
        model.half()
    ones = lth.Ticket(lth.MaskSet.ones(model, lth.prunable(model, kinds=KINDS))).masks
    prefix, twins = locate(model, ones)
    row.backbone = type(model.get_submodule(prefix.removesuffix("."))).__name__
    row.prefix, row.twins = prefix, " ".join(twins)
    row.masks, row.weights = len(ones), ones.total
    row.made_of = _made_of(model, row, ones)
    first = seen.get(row.made_of)
    if first is not None:
        row.kept, row.loaded, row.tensors = first.kept, first.loaded, first.tensors
        row.as_in = first.config
        return
    path = folder / "ticket.safetensors"
    _fresh_ticket(model, prefix, ones).save(path)
    hook = TicketHook(parse_ticket({"path": str(path)}))
    if hook.ticket.weights is not None:
        _fill(model, 0)  # the ticket has to bring everything back
    runner: Any = SimpleNamespace(model=model, cfg=cfg, logger=_LOGGER)
    hook.before_run(runner)
    hook.start(runner)
    _check(model, hook, row)
    seen[row.made_of] = row


def _made_of(model: nn.Module, row: Row, ones: lth.MaskSet) -> str:
    """Stands for a backbone's class, tensors, scope and place in the model, and for its twins."""
    tensors = [
        (name, tuple(tensor.shape), str(tensor.dtype), name.removeprefix(row.prefix) in ones)
        for name, tensor in model.state_dict().items()
        if name.startswith(row.prefix)
    ]
    made_of = (row.backbone, row.prefix, row.twins, tensors)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def _fresh_ticket(model: nn.Module, prefix: str, ones: lth.MaskSet) -> lth.Ticket:
    """A ticket of the model's backbone, of known values."""
    state = model.state_dict()
    absent = next((name for name in ones if prefix + name not in state), None)
    if absent is not None:
        raise WrongError("its state_dict leaves weights out, so a ticket cannot bring them")
    _fill(model, 1)
    with torch.no_grad():
        for name in ones:
            state[prefix + name].copy_(known(name, state[prefix + name]))
    masks = lth.prune(model, ones, AMOUNT)
    return lth.Ticket(masks, state if ones.total < MASK_ALONE_FROM else None)


def _check(model: nn.Module, hook: TicketHook, row: Row) -> None:
    """Compares the model with what the ticket should have made of it."""
    masks, report = hook.ticket.masks, hook.report
    if report is None:
        raise WrongError("nothing was applied")
    state = model.state_dict()
    inside = {
        name.removeprefix(report.prefix): tensor
        for name, tensor in state.items()
        if name.startswith(report.prefix)
    }
    row.kept, row.loaded, row.tensors = masks.kept, len(report.loaded), len(inside)
    brought = set() if hook.ticket.weights is None else set(inside)
    if masks.kept != masks.total - round(AMOUNT * masks.total):
        raise WrongError(f"the ticket keeps {masks.kept} of {masks.total}")
    if report.left or (brought and report.missing) or set(report.loaded) != brought:
        raise WrongError(f"the match report of a ticket of its own is: {report}")
    for name, tensor in inside.items():
        expected = known(name, tensor) * masks[name] if name in masks else torch.ones_like(tensor)
        if not torch.equal(tensor, expected):
            raise WrongError(f"{name} is not what the ticket holds")
    for twin in report.twins:
        if any(bool(state[twin + name][~mask].any()) for name, mask in masks.items()):
            raise WrongError(f"the twin at {twin} is not masked")
    link = lth.attach(model, masks)
    link.check()
    link.detach()


def known(name: str, like: Tensor) -> Tensor:
    """Values from 0.5 to 1 that follow from a weight's name and shape alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.rand(like.shape, generator=generator).add_(1).div_(2).to(like.dtype)


@torch.no_grad()
def _fill(model: nn.Module, value: int) -> None:
    for tensor in model.state_dict().values():
        tensor.fill_(value)


def _drop_checkpoints(config: Any) -> None:
    """The files of teachers and of what links tracks, which ``drop_pretrained`` leaves alone."""
    if isinstance(config, dict):
        for key, value in config.items():
            if (key == "checkpoint" or key.endswith("_ckpt")) and isinstance(value, str):
                config[key] = None
            else:
                _drop_checkpoints(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            _drop_checkpoints(value)


@contextlib.contextmanager
def cheap_start(also_means: bool = False) -> Iterator[None]:
    """Keeps initialisers from drawing, so that memory is touched only where it is written.

    Args:
        also_means: Whether means are not taken either, as mmengine does of all it initialises.
    """
    changed = [
        (owner, name, getattr(owner, name))
        for owner, names in (
            (nn.init, [name for name in vars(nn.init) if name.endswith("_") and name[0] != "_"]),
            (Tensor, ["uniform_", "normal_"]),
            (Tensor, ["mean"] if also_means else []),
            (base_module, ["update_init_info"]),
            (weight_init, ["update_init_info"]),
        )
        for name in names
    ]
    try:
        for owner, name, _ in changed:
            setattr(owner, name, _as_it_is if name != "mean" else _nothing)
        yield
    finally:
        for owner, name, function in changed:
            setattr(owner, name, function)


def _as_it_is(tensor: Tensor, *_: object, **__: object) -> Tensor:
    return tensor


def _nothing(tensor: Tensor, *_: object, **__: object) -> Tensor:
    return tensor.new_zeros(())
