"""Where all trainings of a study start from, and whether they can: before the first one begins."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from lth_core.backbones import load_backbone
from lth_core.errors import ConfigError, LTHError, TicketError
from lth_core.masks import MaskSet
from lth_core.openmmlab.models import build_model
from lth_core.openmmlab.naming import start_of, stem
from lth_core.openmmlab.preflight import check_files
from lth_core.openmmlab.reinit import loads_pretrained
from lth_core.openmmlab.settings import KEEP, REINIT, SHARED, TicketSettings, parse_ticket
from lth_core.openmmlab.study.controls import Control
from lth_core.openmmlab.study.entries import Entry
from lth_core.ticket import Ticket

_GENERIC = re.compile(r"final|rewind|latest|ticket|start|(best|epoch|iter)_.*")
"""Names of files that say nothing about what is in them."""

_ZEROS = 0.05
"""Share of exact zeros above which weights have been pruned: training alone makes hardly any."""


@dataclass(frozen=True)
class Source:
    """Where the values come from that dense, tickets and controls all start from.

    Attributes:
        weights: ``ticket.weights`` of all of them: a file, ``keep`` for what the config loads or
            draws, None for the tickets' own.
        name: As files of results call it; None: by the ticket's own account.
        text: For people.
    """

    weights: str | None
    name: str | None
    text: str

    @property
    def file(self) -> str | None:
        """The file, if it is one."""
        return None if self.weights == KEEP else self.weights


def choose_source(
    cfg: Config, weights: str | None, entries: Sequence[Entry], controls: Sequence[Control]
) -> Source:
    """One and the same for all trainings of a seed.

    Raises:
        ConfigError: If dense or a control is wanted and only tickets have weights, which are
            survivors' alone.
    """
    own = cfg.get("ticket")
    named = None if own is None else parse_ticket({"path": "-", **own}).weights
    file = weights or (named if named not in (None, KEEP, REINIT) else None)
    if file is not None:
        return Source(str(file), _name(file), str(file))
    if cfg.get("load_from") or loads_pretrained(cfg.model):
        name = start_of(cfg)
        return Source(KEEP, name, f"what the config loads ({name})")
    if not any(entry.weights for entry in entries):
        return Source(KEEP, start_of(cfg), "random weights")
    if all(control.kind == REINIT for control in controls):
        return Source(None, None, "the tickets' own weights")
    near = next((entry.rewind for entry in entries if entry.rewind is not None), None)
    hint = f", for example {os.path.relpath(near)}" if near else ""
    raise ConfigError(
        "the config loads no weights, and tickets hold those of survivors alone: dense and "
        f"controls would start from others than tickets; name the whole in --weights{hint}, or "
        "leave them out with --controls none"
    )


def _name(file: str | Path) -> str:
    """The file's; where that says nothing, its directory's."""
    found = stem(file)
    return Path(file).absolute().parent.name or found if _GENERIC.fullmatch(found) else found


def partial_of(cfg: Config) -> bool | str:
    """``ticket.partial`` of the config's own ticket, if it has one."""
    own = cfg.get("ticket")
    return False if own is None else parse_ticket({"path": "-", **own}).partial


def check(
    cfg: Config, source: Source, entries: Sequence[Entry], controls: Sequence[Control]
) -> MaskSet:
    """Tries all that can be tried without training.

    Args:
        cfg: The config with all options.
        source: Where values come from.
        entries: The tickets.
        controls: Made of each of them.

    Returns:
        A mask that keeps all that the tickets have in scope: dense, put as a ticket's.

    Raises:
        LTHError: If a file is missing, the config measures nothing, or a ticket, a control or the
            weights do not fit the model.
    """
    if cfg.get("imp") is not None:
        raise ConfigError(
            "the config has imp, which finds tickets; study the config that it is made of"
        )
    if any(cfg.get(key) is None for key in ("val_dataloader", "val_evaluator", "val_cfg")):
        raise ConfigError(
            "the config measures nothing: it has no val_dataloader, val_evaluator and val_cfg, so "
            "that there is nothing to compare"
        )
    whole = copy.deepcopy(cfg)
    whole.ticket = {"path": str(entries[0].path), "partial": partial_of(cfg)}
    if source.weights is not None:
        whole.ticket["weights"] = source.weights
    check_files(whole, ("train_dataloader", "val_dataloader"))
    model = _model(cfg)
    tickets = [Ticket.load(entry.path) for entry in entries]
    dense = MaskSet({name: mask | True for name, mask in tickets[0].masks.items()})
    partial = partial_of(cfg)
    for entry, ticket in zip(entries, tickets, strict=True):
        try:
            _fit(ticket, model, partial)
        except LTHError as problem:
            raise TicketError(f"{entry.path}: {problem}") from None
        for control in controls:
            _derive(control, entry, ticket)
    if source.file is not None:
        _check_weights(source.file, dense, model, partial)
    return dense


def _model(cfg: Config) -> nn.Module:
    try:
        return build_model(cfg)
    except LTHError:
        raise
    except Exception as problem:
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ConfigError(f"the config's model cannot be built: {reason[-1]}") from problem


def _fit(ticket: Ticket, model: nn.Module, partial: bool | str) -> None:
    ticket.suited(model, partial == SHARED).apply(model, bool(partial))


def _derive(control: Control, entry: Entry, ticket: Ticket) -> None:
    options: Mapping[str, Any] = control.options(0)
    if "ticket.variant" not in options:
        return
    fields = {"path": str(entry.path), "weights": KEEP, "variant": options["ticket.variant"]}
    settings: TicketSettings = parse_ticket(fields)
    if settings.variant is None:
        return
    try:
        masks = settings.variant.derive(ticket.masks)
    except LTHError as problem:
        raise TicketError(f"{control.name} of {entry.path}: {problem}") from None
    if not masks.sparsity:
        raise TicketError(f"{control.name} of {entry.path} prunes nothing; leave it out")


def _check_weights(file: str, dense: MaskSet, model: nn.Module, partial: bool | str) -> None:
    weights = load_backbone(file)
    try:
        _fit(Ticket(dense, weights), model, partial)
    except LTHError as problem:
        raise TicketError(f"weights {file}: {problem}") from None
    zeros = sum(int((weights[n] == 0).sum()) for n in dense if n in weights)
    if zeros > _ZEROS * dense.total:
        raise ConfigError(
            f"weights {file} are pruned: {100 * zeros / dense.total:.1f} % of those in scope are "
            "zero; dense and controls need the whole"
        )
