"""Tickets of a report as chains, and what their masks show, level by level.

A chain is what one run found: its tickets in the order of their sparsity. A ticket that lies
outside of a run's levels is a chain by itself. Masks are looked at one level at a time, since all
of them together may be too large to be held.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np

from lth_core.analysis import (
    DeadChannels,
    KernelCount,
    Similarity,
    collapsed_layers,
    dead_channels,
    expected_by_chance,
    kept_by_layer,
    kept_by_stage,
    kernel_counts_by_stage,
    kernel_map,
    similarity,
)
from lth_core.errors import LTHError
from lth_core.imp.directory import TICKET
from lth_core.masks import MaskSet
from lth_core.report.drawing import SERIES
from lth_core.report.material import FoundTicket, Material
from lth_core.report.section import Group, Part, Swatches, Text

MOST_CHAINS = len(SERIES)
"""Chains of one scope that a page compares: each has a colour of its own."""

MOST_LEVELS = 12
"""Levels that are looked at, evenly spread over those that there are."""

T = TypeVar("T")

_ALIKE = 0.97  # least quotient of the densities of one level
_MAP_ROWS, _MAP_COLUMNS = 96, 240


@dataclass(frozen=True)
class Look:
    """What one mask shows.

    Attributes:
        ticket: Its file.
        layers: Weights kept and in scope, by name in the network's order.
        kernels: Zero kernels by stage.
        dead: Channels that are cut off, by layer.
        collapsed: Layers of which nothing is kept.
        picture: Share of zero kernels in runs of ``run`` kernels, from input to output, row by
            row; NaN after the last. Without rows if the network has no convolutions.
        starts: Where each stage begins in it, as ``(stage, row)``.
        run: Kernels behind one pixel.
        spatial: Whether kernels of one weight are left out of it.
    """

    ticket: FoundTicket
    layers: dict[str, tuple[int, int]]
    kernels: dict[str, KernelCount]
    dead: dict[str, DeadChannels]
    collapsed: list[str]
    picture: np.ndarray
    starts: list[tuple[str, int]]
    run: int
    spatial: bool

    @property
    def sparsity(self) -> float:
        """Of the mask, in per cent."""
        return 100 * self.ticket.sparsity

    @property
    def stages(self) -> dict[str, tuple[int, int]]:
        """Weights kept and in scope, by stage."""
        return kept_by_stage(self.layers)


@dataclass(frozen=True)
class Chain:
    """Tickets that one run found.

    Attributes:
        title: What the page calls it.
        family: What it has in common with chains that differ from it in the seed alone, or empty
            if that is not known.
        tickets: From the least sparse to the sparsest.
        looks: At the levels that were looked at, in the same order.
    """

    title: str
    family: tuple[str, ...]
    tickets: tuple[FoundTicket, ...]
    looks: list[Look] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """Two masks of about the same sparsity beside each other.

    Attributes:
        sparsity: Of the first, in per cent.
        found: How alike they are.
        chance: How alike independent masks with the same densities of layers are.
    """

    sparsity: float
    found: Similarity
    chance: Similarity


@dataclass
class Scope:
    """Chains of masks of the same weights, which can be compared.

    Attributes:
        shapes: Of the weights, by name.
        chains: At most :data:`MOST_CHAINS`.
        left_out: How many more there are.
        pairs: By places of two chains; from the least sparse level to the sparsest.
    """

    shapes: dict[str, tuple[int, ...]]
    chains: list[Chain] = field(default_factory=list)
    left_out: int = 0
    pairs: dict[tuple[int, int], list[Pair]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Which scope it is."""
        weights = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return f"Masks of {len(self.shapes)} tensors, {weights:,} weights"

    @property
    def seeds_of_one(self) -> set[tuple[int, int]]:
        """Pairs of chains that differ in the seed alone."""
        chains = enumerate(self.chains)
        return {
            (i, j)
            for (i, one), (j, other) in itertools.combinations(chains, 2)
            if one.family and one.family == other.family
        }


def survey(material: Material) -> list[Scope]:
    """Looks at all masks with any weight pruned, level by level.

    Returns:
        What they show, by scope; chains whose files changed meanwhile are left out.
    """
    chains = _chains([t for t in material.sound if t.sparsity > 0])
    scopes: list[Scope] = []
    places: dict[int, tuple[Scope, int | None]] = {}  # of chains, found as their first is read
    for level in spread(_levels(chains), MOST_LEVELS):
        masks: list[tuple[Scope, int, MaskSet]] = []
        for number, ticket in sorted(level, key=lambda item: item[0]):
            try:
                mask = ticket.load().masks
            except LTHError:
                continue
            if number not in places:
                places[number] = _place(scopes, chains[number], mask)
            scope, place = places[number]
            if place is not None:
                scope.chains[place].looks.append(_look(ticket, mask))
                masks.append((scope, place, mask))
        for (scope, i, one), (other_scope, j, other) in itertools.combinations(masks, 2):
            if scope is other_scope:
                (a, x), (b, y) = sorted(((i, one), (j, other)), key=lambda item: item[0])
                pair = Pair(100 * x.sparsity, similarity(x, y), expected_by_chance(x, y, "layer"))
                scope.pairs.setdefault((a, b), []).append(pair)
    return scopes


def by_scope(scopes: Iterable[Scope], show: Callable[[Scope], Iterable[Part]]) -> tuple[Part, ...]:
    """What there is to show of each scope, under headings where there are several.

    Args:
        scopes: All.
        show: Parts for one; none if there is nothing to say.
    """
    shown = [(scope, parts) for scope in scopes if (parts := tuple(show(scope)))]
    if len(shown) == 1:
        return _notes(shown[0][0]) + shown[0][1]
    groups = [Group(scope.title, _notes(scope) + parts) for scope, parts in shown]
    several = Text("Masks of different weights cannot be compared: each kind stands by itself.")
    return (several, *groups) if groups else ()


def _notes(scope: Scope) -> tuple[Part, ...]:
    colours = Swatches(tuple(chain.title for chain in scope.chains))
    if not scope.left_out:
        return (colours,)
    more = f"{scope.left_out} more are left out: no more than {MOST_CHAINS} are compared."
    return colours, Text(more)


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the items, evenly spread, the first and the last included."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def nearest(looks: Sequence[Look], sparsity: float) -> Look:
    """The look at about this sparsity, in per cent."""
    return min(looks, key=lambda look: abs(look.sparsity - sparsity))


def _chains(tickets: Sequence[FoundTicket]) -> list[Chain]:
    groups: dict[Path, list[FoundTicket]] = {}
    for ticket in tickets:
        groups.setdefault(_home(ticket.path), []).append(ticket)
    # Controls come last: of many chains those of the runs themselves are compared.
    places = sorted(groups, key=lambda place: place.name == "one_shot")
    names = {place: title_of(place, groups[place][0]) for place in places}
    taken = Counter(names.values())
    return [
        Chain(
            names[place] if taken[names[place]] == 1 else str(place),
            _family(groups[place][0]),
            tuple(sorted(groups[place], key=lambda ticket: ticket.sparsity)),
        )
        for place in places
    ]


def _home(path: Path) -> Path:
    """Where the levels are that a ticket is one of; its own path if it is none of any."""
    if path.name.startswith("level_"):
        return path.parent
    return path.parent.parent if path.parent.name.startswith("level_") else path


def title_of(place: Path, ticket: FoundTicket) -> str:
    """As the directory, or the file, is called from the directory asked for."""
    above = len(ticket.path.parts) - len(place.parts)
    name = PurePath(ticket.name)
    shown = name.parents[above - 1] if above and above <= len(name.parents) else name
    if shown.name == TICKET:
        shown = shown.parent
    if str(shown) == ".":
        return ticket.path.resolve().parent.name if not above else place.resolve().name
    return str(shown.with_suffix("") if shown.suffix == ".safetensors" else shown)


def _family(ticket: FoundTicket) -> tuple[str, ...]:
    meta = ticket.meta
    if not meta.get("mask_name") or "seed" not in meta:
        return ()
    keys = ("mask_name", "weights_name", "rewind", "criterion", "allocation", "one_shot")
    return tuple(str(meta.get(key)) for key in keys)


def _levels(chains: Sequence[Chain]) -> list[list[tuple[int, FoundTicket]]]:
    """Tickets of about the same density, at most one of each chain, with its chain's place."""
    found: list[list[tuple[int, FoundTicket]]] = []
    tickets = [(number, t) for number, chain in enumerate(chains) for t in chain.tickets]
    for number, ticket in sorted(tickets, key=lambda item: (item[1].sparsity, item[0])):
        last = found[-1] if found else []
        if (
            last
            and ticket.kept * last[0][1].total >= _ALIKE * last[0][1].kept * ticket.total
            and all(number != other for other, _ in last)
        ):
            last.append((number, ticket))
        else:
            found.append([(number, ticket)])
    return found


def _place(scopes: list[Scope], chain: Chain, masks: MaskSet) -> tuple[Scope, int | None]:
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    scope = next((each for each in scopes if each.shapes == shapes), None)
    if scope is None:
        scope = Scope(shapes)
        scopes.append(scope)
    if len(scope.chains) == MOST_CHAINS:
        scope.left_out += 1
        return scope, None
    scope.chains.append(chain)
    return scope, len(scope.chains) - 1


def _look(ticket: FoundTicket, masks: MaskSet) -> Look:
    spatial = any(mask.dim() > 2 and mask[0, 0].numel() > 1 for mask in masks.values())
    picture, starts, run = _zero_map(masks, spatial)
    return Look(
        ticket,
        kept_by_layer(masks),
        kernel_counts_by_stage(masks),
        dead_channels(masks),
        collapsed_layers(masks),
        picture,
        starts,
        run,
        spatial,
    )


def _zero_map(masks: MaskSet, spatial: bool) -> tuple[np.ndarray, list[tuple[str, int]], int]:
    convolutions = [m for m in masks.values() if m.dim() > 2]
    kernels = [m for m in convolutions if not spatial or m[0, 0].numel() > 1]
    total = sum(m.shape[0] * m.shape[1] for m in kernels)
    if not total:
        return np.zeros((0, 0), np.float32), [], 1
    run = -(-total // (_MAP_ROWS * _MAP_COLUMNS))
    columns = min(-(-total // (_MAP_ROWS * run)), _MAP_COLUMNS) * run
    fractions, starts = kernel_map(masks, columns, spatial)
    zero = np.where(np.isnan(fractions), np.nan, fractions == 0).reshape(len(fractions), -1, run)
    known = (~np.isnan(zero)).sum(2)
    shares = np.nansum(zero, 2) / np.maximum(known, 1)
    return np.where(known > 0, shares, np.nan).astype(np.float32), starts, run
