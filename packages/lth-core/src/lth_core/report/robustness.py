"""Whether the robustness of models is real: what tests with ``RobustAuditLoop`` have written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lth_core.report.material import Material
from lth_core.report.section import BAD, FAINT, GOOD, Cell, Group, Part, Section, Table, Text
from lth_core.results import AUDIT
from lth_core.scope import printable

_NOTE = (
    "A model whose gradients are masked looks robust to attacks that follow them, while images "
    "that fool it are as near as ever. Each sign of it is told by one number; a model without any "
    "is as robust as the strongest attack that was tried, and may be less."
)
_SEEN = {True: Cell("yes", BAD), False: Cell("no", GOOD), None: Cell("not looked for", FAINT)}


def robustness(material: Material) -> Iterator[Section]:
    """A group for each audit, with its signs and the accuracies they are told by."""
    groups = tuple(
        Group(_title(path, place), tuple(_parts(path)))
        for place in material.places
        if place.is_dir()
        for path in sorted(place.rglob(AUDIT))
    )
    if groups:
        yield Section("robustness", "Is robustness real?", _NOTE, groups)


def _title(path: Path, place: Path) -> str:
    return str(path.parent.relative_to(place)) if path.parent != place else path.parent.name


def _parts(path: Path) -> Iterator[Part]:
    try:
        found = json.loads(path.read_text())
        parts = list(_shown(found))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
        yield Text(f"Not shown: {AUDIT} is damaged ({printable(str(problem), 200)}).")
        return
    yield from parts


def _shown(found: Mapping[str, Any]) -> Iterator[Part]:
    signs = [(str(s["name"]), _SEEN[s["found"]], str(s["says"])) for s in found["signs"]]
    yield Text(f"{found['checkpoint'] or 'The model'}: {found['verdict']}.")
    yield Table(
        "Signs of masked gradients",
        ("sign", "seen", "numbers"),
        tuple(signs),
    )
    yield Table(
        f"Accuracy on {found['images']:,} images, pixels changed by up to "
        f"{255 * found['eps']:.3g}/255",
        ("attack", "accuracy, %"),
        tuple((str(name), f"{value:.2f}") for name, value in found["accuracy"].items()),
        frozenset((1,)),
    )
