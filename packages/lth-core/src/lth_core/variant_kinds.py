"""The variants by name, with the settings of each: what configs and the command line offer.

A kind is a small frozen dataclass over a function of :mod:`lth_core.variants`; its fields are its
settings. Register one with ``@variant("name")``, and ``ticket.variant`` of a config and
``lth ticket variant`` know it. The same settings give the same mask on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import lth_core as lth
from lth_core.errors import ConfigError, MaskError
from lth_core.spelling import hint

if TYPE_CHECKING:  # the command line lists the kinds without waiting for torch
    import torch

    from lth_core.masks import MaskSet


@dataclass(frozen=True)
class Values:
    """What a setting can be.

    Attributes:
        wanted: In words, for messages.
        fits: Whether a value is one of these.
        parse: Makes one of a command line's word; None for a switch, which takes no word.
        choices: All of them, where they are few.
    """

    wanted: str
    fits: Callable[[Any], bool]
    parse: Callable[[str], Any] | None = str
    choices: tuple[str, ...] = ()


def one_of(*choices: str) -> Values:
    """One of a few words."""
    wanted = " or ".join(map(repr, choices))
    return Values(wanted, lambda v: isinstance(v, str) and v in choices, choices=choices)


# True and False are no numbers here, though Python counts them among them.
SEED = Values(
    "a whole number from 0 to 2**63 - 1", lambda v: type(v) is int and 0 <= v < 2**63, int
)
SHARE = Values("a number between 0 and 1", lambda v: type(v) in (int, float) and 0 <= v <= 1, float)
SWITCH = Values("True or False", lambda v: type(v) is bool, None)
FILE = Values("the path of a file", lambda v: v is None or (isinstance(v, str) and v != ""))

ALL = "all"
"""The whole network, where a depth is asked for."""


def _depth(word: str) -> str | int:
    return int(word) if word.isdecimal() else word


DEPTH = Values(
    "the name of a weight or a part, a number of weights from 1 on, or 'all'",
    lambda v: (type(v) is int and v >= 1) or (isinstance(v, str) and v != ""),
    _depth,
)


@dataclass(frozen=True)
class Setting:
    """A field that one or more kinds have, for those who list them.

    Attributes:
        name: Of the field.
        default: What it is where it is left out.
        help: What it does, in a few words.
        values: What it can be.
        kinds: Names of the kinds that have it.
    """

    name: str
    default: Any
    help: str
    values: Values
    kinds: tuple[str, ...]


def setting(default: Any, text: str, values: Values) -> Any:
    """A field of a kind."""
    return field(default=default, metadata={"help": text, "values": values})


@dataclass(frozen=True)
class Variant(ABC):
    """Derives a mask from another.

    Attributes:
        type: The name it is registered under.

    Raises:
        ConfigError: If a field is not what it can be.
    """

    type: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):
            value, values = getattr(self, each.name), each.metadata["values"]
            if not values.fits(value):
                raise ConfigError(
                    f"variant {self.type!r}: {each.name} is {value!r}; use {values.wanted}"
                )

    @abstractmethod
    def derive(self, masks: MaskSet) -> MaskSet:
        """Other masks of the same names and shapes."""

    def settings(self) -> dict[str, Any]:
        """Its type and all its fields, as one writes them in a config."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True)
class _Drawn(Variant):
    """A kind that draws random numbers."""

    seed: int = setting(0, "which of the random masks", SEED)

    def generator(self) -> torch.Generator:
        """The seed's own stream, from its start."""
        import torch

        return torch.Generator().manual_seed(self.seed)


_KINDS: dict[str, type[Variant]] = {}
_V = TypeVar("_V", bound="type[Variant]")


def variant(name: str) -> Callable[[_V], _V]:
    """Registers a kind of variant under ``name``."""

    def register(kind: _V) -> _V:
        kind.type = name
        _KINDS[name] = kind
        return kind

    return register


def kinds() -> dict[str, type[Variant]]:
    """All kinds by name, in order of name."""
    return dict(sorted(_KINDS.items()))


def all_settings() -> list[Setting]:
    """The fields of all kinds, in order of name; one that several kinds have is listed once."""
    having: dict[str, list[str]] = {}
    made: dict[str, Any] = {}
    for name, kind in kinds().items():
        for each in fields(kind):
            having.setdefault(each.name, []).append(name)
            made[each.name] = each
    return [
        Setting(name, f.default, f.metadata["help"], f.metadata["values"], tuple(having[name]))
        for name, f in sorted(made.items())
    ]


def make_variant(name: Any, settings: Mapping[str, Any]) -> Variant:
    """The variant of this name with these fields.

    Raises:
        ConfigError: If there is none of that name, it has no such field (the message names those
            that it has), or a field is malformed.
    """
    if not isinstance(name, str) or name not in _KINDS:
        raise ConfigError(f"unknown variant {name!r}; choose from {', '.join(kinds())}")
    known = [each.name for each in fields(_KINDS[name])]
    for given in settings:
        if given not in known:
            raise ConfigError(
                f"variant {name!r} has no field {given!r}; {hint(given, known)}"
                f"it has {', '.join(known) or 'none'}"
            )
    return _KINDS[name](**settings)


@variant("complement")
@dataclass(frozen=True)
class Complement(Variant):
    """Exactly what the mask prunes (paper A, Fig. 8)."""

    def derive(self, masks: MaskSet) -> MaskSet:
        """See :func:`lth_core.variants.complement`."""
        return lth.variants.complement(masks)


@variant("random")
@dataclass(frozen=True)
class Random(_Drawn):
    """As many weights at random (paper A, Fig. 8; paper B, Figs. 3 to 5)."""

    match: Literal["global", "layer"] = setting(
        "global", "what keeps its count: the whole or every layer", one_of("global", "layer")
    )
    among: str | None = setting(
        None, "checkpoint of the trained dense net: choose among the weights not zero there", FILE
    )

    def derive(self, masks: MaskSet) -> MaskSet:
        """See :func:`lth_core.variants.random`.

        Raises:
            CheckpointError: If the file of ``among`` cannot be read.
            MaskError: If it is of another architecture, or too few of its weights are not zero.
        """
        if self.among is None:
            return lth.variants.random(masks, self.match, self.generator())
        weights = lth.load_backbone(self.among)
        try:
            alive = lth.variants.nonzero(weights, masks)
            return lth.variants.random(masks, self.match, self.generator(), alive)
        except MaskError as problem:
            raise MaskError(f"among {self.among}: {problem}") from None


@variant("perturb")
@dataclass(frozen=True)
class Perturb(_Drawn):
    """A share of the ones and of the zeros flipped (paper A, Fig. 8)."""

    fraction: float = setting(0.1, "share to flip", SHARE)
    keep_density: bool = setting(False, "flip as many zeros as ones", SWITCH)

    def derive(self, masks: MaskSet) -> MaskSet:
        """See :func:`lth_core.variants.perturb`."""
        return lth.variants.perturb(masks, self.fraction, self.generator(), self.keep_density)


@variant("shuffle")
@dataclass(frozen=True)
class Shuffle(_Drawn):
    """The mask's entries in another order within each layer (paper B's permuted masks)."""

    unit: Literal["weight", "kernel"] = setting(
        "weight", "what changes places: single weights or whole kernels", one_of("weight", "kernel")
    )

    def derive(self, masks: MaskSet) -> MaskSet:
        """See :func:`lth_core.variants.shuffle`."""
        return lth.variants.shuffle(masks, self.unit, self.generator())


@variant("even")
@dataclass(frozen=True)
class Even(_Drawn):
    """As many weights at random, with one density in every layer."""

    def derive(self, masks: MaskSet) -> MaskSet:
        """See :func:`lth_core.variants.even`."""
        return lth.variants.even(masks, self.generator())


@variant("up_to")
@dataclass(frozen=True)
class UpTo(Variant):
    """The mask up to a depth, everything kept beyond (paper B, Figs. 4 and 9)."""

    last: str | int = setting(
        ALL, "the last weight or part that stays pruned, or their number from the input", DEPTH
    )

    def derive(self, masks: MaskSet) -> MaskSet:
        """See :func:`lth_core.variants.up_to`; ``"all"`` changes nothing."""
        return masks if self.last == ALL else lth.variants.up_to(masks, self.last)
