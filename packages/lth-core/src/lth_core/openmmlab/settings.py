"""The config keys ``ticket``, ``imp`` and ``record``: what is not known is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from lth_core.errors import ConfigError
from lth_core.imp.finish import Finish
from lth_core.imp.settings import IMPSettings, preset_fields
from lth_core.spelling import hint
from lth_core.variant_kinds import SEED, Variant, make_variant

Settings = TypeVar("Settings")

KEEP = "keep"
"""``ticket.weights`` of a run that keeps the model's own weights and takes only the mask."""

REINIT = "reinit"
"""``ticket.weights`` of a run whose survivors start from fresh random values."""

SHARED = "shared"
"""``ticket.partial`` of a run that takes of the ticket what its own backbone has, too."""


@dataclass(frozen=True)
class TicketSettings:
    """``ticket = dict(path=..., weights=None, variant=None)``: train from a ticket.

    Args:
        path: The ticket file.
        weights: Where survivors start: None for the ticket's own weights (or, if it has none, the
            model's), ``"keep"`` for the model's as the config initialises or loads it,
            ``"reinit"`` for fresh random ones by the model's own initialiser without anything
            pre-trained (paper B, section B.1: Random Reinit), or a checkpoint's path.
        variant: A mask derived from the ticket's: the name of one of
            :func:`lth_core.variant_kinds.kinds`, or a dict with ``type`` and its fields, for
            example ``dict(type="random", match="layer", seed=1)``.
        partial: Whether the model's backbone may have weights that the ticket does not cover;
            with ``"shared"`` the ticket may have masks for which the model has no place, too.
        seed: Of ``weights="reinit"``.

    Raises:
        ConfigError: If a field is malformed.
    """

    path: str
    weights: str | None = None
    variant: Variant | None = None
    partial: bool | str = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)) or not str(self.path):
            raise ConfigError(f"ticket.path is {self.path!r}; it must name a ticket file")
        if self.weights is not None and not isinstance(self.weights, (str, Path)):
            raise ConfigError(
                f"ticket.weights is {self.weights!r}; use None, 'keep', 'reinit' or a path"
            )
        if not isinstance(self.partial, bool) and self.partial != SHARED:
            raise ConfigError(f"ticket.partial is {self.partial!r}; use True, False or 'shared'")
        if not SEED.fits(self.seed):
            raise ConfigError(f"ticket.seed is {self.seed!r}; use {SEED.wanted}")
        if self.seed and self.weights != REINIT:
            raise ConfigError(
                f"ticket.seed is {self.seed}, but only weights='reinit' draws from it; a variant "
                "has a seed of its own, as in variant=dict(type='random', seed=1)"
            )
        if self.variant is not None and self.weights is None:
            raise ConfigError(
                "ticket.variant keeps weights that the ticket has pruned, whose values are not in "
                "its file; name a checkpoint in ticket.weights, 'keep' for the model's own or "
                "'reinit' for fresh ones"
            )


@dataclass(frozen=True)
class RecordSettings:
    """``record = dict(task=..., weights=..., mask=...)``: names in files of results.

    Args:
        task: What is trained; by default the data set's and the model's names.
        weights: What it starts from; by default the checkpoint's name, or ``random``.
        mask: Where the mask comes from; by default what the ticket says of itself.

    Raises:
        ConfigError: If a field is malformed.
    """

    task: str | None = None
    weights: str | None = None
    mask: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not (isinstance(value, str) and value.strip()):
                raise ConfigError(f"record.{each.name} is {value!r}; use a name, or None")


def parse_record(value: Any) -> RecordSettings:
    """The settings in a config's ``record``; None for a config that has none.

    Raises:
        ConfigError: If it is not a dict, or has unknown or malformed fields.
    """
    return (
        RecordSettings()
        if value is None
        else strict(RecordSettings, plain(value, "record"), "record")
    )


def parse_ticket(value: Any) -> TicketSettings:
    """The settings in a config's ``ticket``.

    Raises:
        ConfigError: If it is not a dict, or has unknown, missing or malformed fields.
    """
    value = plain(value, "ticket")
    variant = value.get("variant")
    if isinstance(variant, str):
        value["variant"] = _variant(variant, {})
    elif variant is not None:
        settings = plain(variant, "ticket.variant")
        if "type" not in settings:
            raise ConfigError("ticket.variant needs the field 'type'")
        value["variant"] = _variant(settings.pop("type"), settings)
    return strict(TicketSettings, value, "ticket")


def _variant(name: Any, settings: Mapping[str, Any]) -> Variant:
    try:
        return make_variant(name, settings)
    except ConfigError as problem:
        raise ConfigError(f"ticket.variant: {problem}") from None


def parse_imp(value: Any) -> IMPSettings:
    """The settings in a config's ``imp``.

    Raises:
        ConfigError: If it is not a dict, or has unknown, missing or malformed fields.
    """
    value = plain(value, "imp")
    preset = value.pop("preset", None)
    for name in ("kinds", "carry", "keep"):
        if isinstance(value.get(name), list):
            value[name] = tuple(value[name])
    if value.get("finish") is not None:
        value["finish"] = strict(Finish, plain(value["finish"], "imp.finish"), "imp.finish")
    return strict(IMPSettings, ({} if preset is None else preset_fields(preset)) | value, "imp")


def plain(value: Any, key: str) -> dict[str, Any]:
    """The fields of a dict in a config, without the scope that mmengine may have put there.

    Raises:
        ConfigError: If it is not a dict; ``key`` is its name for the reader.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} is {value!r}; it must be a dict, as in {key} = dict(...)")
    return {name: item for name, item in value.items() if name != "_scope_"}


def strict(kind: type[Settings], value: Mapping[str, Any], key: str) -> Settings:
    """A dataclass made from the fields of a config.

    Raises:
        ConfigError: If a field is unknown or missing; ``key`` is the dict's name for the reader.
    """
    known = [f.name for f in fields(kind) if f.init]  # type: ignore[arg-type]
    for name in value:
        if name not in known:
            meant = hint(name, known)
            fields_are = f"known: {', '.join(known)}" if known else "it takes none"
            raise ConfigError(f"{key} has no field {name!r}; {meant}{fields_are}")
    for f in fields(kind):  # type: ignore[arg-type]
        if f.init and f.default is MISSING and f.default_factory is MISSING and f.name not in value:
            raise ConfigError(f"{key} needs the field {f.name!r}")
    return kind(**value)
