"""Which tickets match dense, and what cannot be said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lth_core.errors import ConfigError
from lth_core.matching import (
    ALPHA,
    MATCHES,
    POWER,
    WORSE,
    Level,
    Match,
    Universal,
    match,
    percent,
    universal,
)
from lth_core.report.groups import Kind, measures
from lth_core.report.material import Material
from lth_core.report.section import (
    BAD,
    FAINT,
    GOOD,
    UNSURE,
    Cell,
    Fold,
    Group,
    Part,
    Section,
    Table,
    Text,
)

_LOOKS = {MATCHES: GOOD, WORSE: BAD}

_NOTE = (
    "A level matches by the papers' rule if its mean is not more than one standard deviation of "
    "the dense runs below theirs, which says nothing of chance. By the test (Welch's, one-sided, "
    f"Holm's method over a family's levels, at {ALPHA:g}) it matches if it is shown to be less "
    "than the margin worse, is worse if it is shown to be worse, and is undecided otherwise. Power "
    "is how likely a level truly as good as dense would have been shown to match; where it is low, "
    "undecided means little."
)


def verdicts(material: Material) -> Iterator[Section]:
    """Tables of families by task and metric, with their levels on demand."""
    if not material.results:
        return
    parts: list[Part] = []
    found: list[Match] = []
    for (task, metric), results in measures(material.results).items():
        try:
            matches = match(results)
        except ConfigError as problem:
            parts.append(Group(f"{task}: {metric}", (Text(f"Not judged. {problem}"),)))
            continue
        if matches:
            found += matches
            details = tuple(_details(each) for each in matches)
            parts.append(Group(f"{task}: {metric}", (_families(task, metric, matches), *details)))
        else:
            text = "There are dense runs alone; nothing to match with them."
            parts.append(Group(f"{task}: {metric}", (Text(text),)))
    parts += _universal(found)
    yield Section("verdicts", "Which tickets match dense", _NOTE, tuple(parts))


def _name(match_: Match) -> str:
    family = match_.family
    return f"{Kind(family.mask, family.variant)} from {family.weights}"


def _families(task: str, metric: str, matches: Sequence[Match]) -> Table:
    return Table(
        f"{task}, {metric}: the sparsest level that matches",
        (
            "ticket", "dense (runs)", "margin", "by the papers' rule", "by the test", "power",
            f"runs for {POWER:g}",
        ),
        tuple(_family(each) for each in matches),
        frozenset(range(1, 7)),
    )  # fmt: skip


def _family(each: Match) -> tuple[str | Cell, ...]:
    powers = [level.power for level in each.levels if level.power is not None]
    seeds = [level.seeds for level in each.levels if level.seeds is not None]
    known = any(level.rule is not None for level in each.levels)
    return (
        _name(each),
        str(each.dense),
        "unknown" if each.margin is None else f"{each.margin:.3g}",
        sparsest_cell(each.by_rule, known),
        sparsest_cell(each.by_test, bool(powers)),
        f"{min(powers):.2f}" if powers else "",
        str(max(seeds)) if seeds else "",
    )


def sparsest_cell(sparsity: float | None, known: bool) -> Cell:
    """The sparsest level that matches, or that there is none, or that it cannot be known."""
    if not known:
        return Cell("cannot be said", FAINT)
    return Cell(percent(sparsity), UNSURE if sparsity is None else GOOD)


def rule_cell(rule: bool | None) -> Cell:
    """What the papers' rule says of a level."""
    if rule is None:
        return Cell("cannot be said", FAINT)
    return Cell("matches", GOOD) if rule else Cell("does not", BAD)


def test_cell(verdict: str) -> Cell:
    """What the test says of a level."""
    return Cell(verdict, _LOOKS.get(verdict, UNSURE))


def _details(each: Match) -> Fold:
    table = Table(
        f"{_name(each)}, level by level",
        (
            "level", "sparsity", f"{each.family.metric} (runs)", "better than dense by",
            "papers' rule", "test", "power", f"runs for {POWER:g}",
        ),
        tuple(_level(level) for level in each.levels),
        frozenset((0, 1, 2, 3, 6, 7)),
    )  # fmt: skip
    remarks = f"; {len(each.notes)} remarks" if each.notes else ""
    return Fold(f"{_name(each)}, level by level{remarks}", (table, *map(Text, each.notes)))


def _level(level: Level) -> tuple[str | Cell, ...]:
    found = str(level.found)
    return (
        str(level.level),
        percent(level.sparsity),
        f"{found}, {level.lost} without a number" if level.lost else found,
        f"{level.gain:+.4g}" if level.gain == level.gain else "",
        rule_cell(level.rule),
        test_cell(level.verdict),
        "" if level.power is None else f"{level.power:.2f}",
        "" if level.seeds is None else str(level.seeds),
    )


def _universal(matches: Sequence[Match]) -> Iterator[Group]:
    if len({each.family.task for each in matches}) < 2:
        return
    # A task that is measured twice counts twice: what is universal matches by every measure.
    found = universal([_apart(each) for each in matches])
    if found:
        table = Table(
            "Universal tickets: the sparsest level that matches on every task",
            ("ticket", "tasks", "by the papers' rule", "by the test"),
            tuple(_universal_row(each) for each in found),
            frozenset((2, 3)),
        )
        yield Group("Over tasks", (table,))


def _apart(each: Match) -> Match:
    task = f"{each.family.task} ({each.family.metric})"
    return replace(each, family=replace(each.family, task=task))


def _universal_row(each: Universal) -> tuple[str | Cell, ...]:
    name = f"{Kind(each.mask, each.variant)} from {each.weights}"
    cells = [Cell(percent(x), UNSURE if x is None else GOOD) for x in (each.by_rule, each.by_test)]
    return (name, ", ".join(each.tasks), *cells)
