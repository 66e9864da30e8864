"""The two config keys, ``ticket`` and ``imp``, checked at the door: unknown fields are errors."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from lth_core import variants
from lth_core.errors import ConfigError
from lth_core.imp import IMPSettings
from lth_core.masks import MaskSet

Settings = TypeVar("Settings")

KEEP = "keep"
"""``ticket.weights`` of a run that keeps the model's own weights and takes only the mask."""


@dataclass(frozen=True)
class TicketSettings:
    """``ticket = dict(path=..., weights=None, variant=None)``: train from a ticket.

    Args:
        path: The ticket file.
        weights: Where survivors start: None for the ticket's own weights (or, if it has none, the
            model's), ``"keep"`` for the model's own initialisation, or a checkpoint's path.
        variant: A mask derived from the ticket's: ``"complement"``, ``"random"``, ``"perturb"``,
            or a dict with ``type`` and its arguments, for example
            ``dict(type="random", match="layer", seed=1)``.
        partial: Whether the model's backbone may have weights that the ticket does not cover.

    Raises:
        ConfigError: If a field is malformed.
    """

    path: str
    weights: str | None = None
    variant: Variant | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)) or not str(self.path):
            raise ConfigError(f"ticket.path is {self.path!r}; it must name a ticket file")
        if self.weights is not None and not isinstance(self.weights, (str, Path)):
            raise ConfigError(f"ticket.weights is {self.weights!r}; use None, 'keep' or a path")
        if not isinstance(self.partial, bool):
            raise ConfigError(f"ticket.partial is {self.partial!r}; use True or False")
        if self.variant is not None and self.weights is None:
            raise ConfigError(
                "ticket.variant keeps weights that the ticket has pruned, whose values are not in "
                "its file; name a checkpoint in ticket.weights, or 'keep' for the model's own"
            )


@dataclass(frozen=True)
class Variant:
    """A mask derived from a ticket's; see :mod:`lth_core.variants`."""

    type: str
    match: str = "global"
    fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.type not in ("complement", "random", "perturb"):
            raise ConfigError(
                f"ticket.variant is {self.type!r}; choose from complement, random, perturb"
            )
        if self.match not in ("global", "layer"):
            raise ConfigError(f"ticket.variant.match is {self.match!r}; use 'global' or 'layer'")

    def derive(self, masks: MaskSet) -> MaskSet:
        """The variant of ``masks``; the same for the same seed."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.type == "complement":
            return variants.complement(masks)
        if self.type == "perturb":
            return variants.perturb(masks, self.fraction, generator)
        return variants.random(masks, "layer" if self.match == "layer" else "global", generator)


def parse_ticket(value: Any) -> TicketSettings:
    """The settings in a config's ``ticket``.

    Raises:
        ConfigError: If it is not a dict, or has unknown, missing or malformed fields.
    """
    value = _plain(value, "ticket")
    variant = value.get("variant")
    if isinstance(variant, str):
        value["variant"] = Variant(variant)
    elif variant is not None:
        value["variant"] = _strict(Variant, _plain(variant, "ticket.variant"), "ticket.variant")
    return _strict(TicketSettings, value, "ticket")


def parse_imp(value: Any) -> IMPSettings:
    """The settings in a config's ``imp``.

    Raises:
        ConfigError: If it is not a dict, or has unknown, missing or malformed fields.
    """
    value = _plain(value, "imp")
    if isinstance(value.get("kinds"), list):
        value["kinds"] = tuple(value["kinds"])
    return _strict(IMPSettings, value, "imp")


def _plain(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} is {value!r}; it must be a dict, as in {key} = dict(...)")
    return {name: item for name, item in value.items() if name != "_scope_"}


def _strict(kind: type[Settings], value: dict[str, Any], key: str) -> Settings:
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for name in value:
        if name not in known:
            guess = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {guess[0]!r}? " if guess else ""
            raise ConfigError(f"{key} has no field {name!r}; {hint}known: {', '.join(known)}")
    for f in fields(kind):  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in value:
            raise ConfigError(f"{key} needs the field {f.name!r}")
    return kind(**value)
