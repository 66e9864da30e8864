"""What tickets are compared with, as one writes it: ``dense``, ``perturb:fraction=0.05``, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lth_core.errors import ConfigError
from lth_core.openmmlab.naming import variant_name
from lth_core.openmmlab.settings import REINIT
from lth_core.results import DENSE
from lth_core.variant_kinds import Values, Variant, kinds, make_variant

DEFAULT = (DENSE, "random")

SENSITIVITY = (
    DENSE,
    "complement",
    "random",
    "random:match=layer",
    "perturb:fraction=0.05",
    "perturb:fraction=0.1",
    "perturb:fraction=0.2",
)
"""How much a ticket's exact mask matters (paper A, Fig. 8, which perturbs 0.1 of it)."""

NONE = "none"


@dataclass(frozen=True)
class Control:
    """One thing to compare with.

    Attributes:
        kind: ``dense``, ``reinit`` (the ticket's mask with fresh weights), or a variant's name.
        settings: Of the variant.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """As files of results call it: ``perturb fraction=0.05``."""
        return self.kind if self.kind in (DENSE, REINIT) else variant_name(self._variant())

    @property
    def ticket(self) -> bool:
        """Whether it is made of a ticket."""
        return self.kind != DENSE

    def options(self, seed: int) -> dict[str, Any]:
        """Fields of the config's ``ticket``. Masks and weights are drawn anew for each seed."""
        if self.kind == DENSE:
            return {}
        if self.kind == REINIT:
            return {"ticket.weights": REINIT, "ticket.seed": seed}
        variant = self._variant()
        drawn = {"seed": seed} if any(each.name == "seed" for each in fields(variant)) else {}
        return {"ticket.variant": {"type": self.kind, **drawn, **dict(self.settings)}}

    def _variant(self) -> Variant:
        return make_variant(self.kind, dict(self.settings))


def parse_controls(words: Sequence[str]) -> tuple[Control, ...]:
    """The controls that are asked for.

    Args:
        words: ``dense``, ``reinit``, or a variant's name with settings behind it, as in
            ``random:match=layer`` and ``perturb:fraction=0.05,keep_density=true``; ``none`` alone
            for none.

    Raises:
        ConfigError: If one is unknown (the message says what there is), malformed or there twice.
    """
    if list(words) == [NONE]:
        return ()
    found: list[Control] = []
    for word in words:
        control = _parse(word)
        if any(control.name == each.name for each in found):
            raise ConfigError(f"control {word} is there twice, as {control.name}")
        found.append(control)
    return tuple(found)


def choose_controls(given: Sequence[str] | None, sensitivity: bool) -> tuple[str, ...]:
    """What a command line asks for: the sensitivity study's, and what is named beside them."""
    named = tuple(given or ())
    if not sensitivity:
        return named or DEFAULT
    return SENSITIVITY + tuple(word for word in named if word not in SENSITIVITY)


def _parse(word: str) -> Control:
    name, _, rest = word.partition(":")
    if name not in (DENSE, REINIT) and name not in kinds():
        raise ConfigError(
            f"unknown control {word!r}; there are {DENSE}, {REINIT} and {', '.join(kinds())} (with "
            "settings as in perturb:fraction=0.05), or none alone"
        )
    pairs = [pair.partition("=")[::2] for pair in rest.split(",")] if rest else []
    if pairs and name in (DENSE, REINIT):
        raise ConfigError(f"control {name} has no settings, but {rest!r} stands behind it")
    values = _values(name)
    settings = tuple((key, _value(word, key, text, values)) for key, text in pairs)
    if len({key for key, _ in settings}) < len(settings):
        raise ConfigError(f"control {word!r} has a setting twice")
    control = Control(name, settings)
    try:
        _ = control.name
    except ConfigError as problem:
        raise ConfigError(f"control {word!r}: {problem}") from None
    return control


def _values(name: str) -> Mapping[str, Values]:
    kind = kinds().get(name)
    return {} if kind is None else {each.name: each.metadata["values"] for each in fields(kind)}


def _value(word: str, key: str, text: str, values: Mapping[str, Values]) -> Any:
    """A setting's value; one that is unknown stays text, and is refused by the variant."""
    if key not in values:
        return text
    parse = values[key].parse
    try:
        return _switch(text) if parse is None else parse(text)
    except ValueError:
        raise ConfigError(
            f"control {word!r}: {key} is {text!r}; use {values[key].wanted}"
        ) from None


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"
