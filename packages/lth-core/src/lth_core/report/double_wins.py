"""Which tickets win twice: after standard training, and after adversarial training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure as Canvas

from lth_core.errors import ConfigError
from lth_core.matching import (
    MISSING,
    Condition,
    DoubleWin,
    JointLevel,
    Match,
    all_double_wins,
    match,
    percent,
)
from lth_core.published import Extreme
from lth_core.report.drawing import drawing
from lth_core.report.groups import Kind, Start, all_kinds, measures, starts
from lth_core.report.material import Material
from lth_core.report.panels import Look, Scale, look, paint_panel, place_of
from lth_core.report.section import (
    FAINT,
    GOOD,
    UNSURE,
    Cell,
    Figure,
    Figures,
    Fold,
    Group,
    Part,
    Section,
    Table,
    Text,
)
from lth_core.report.verdicts import rule_cell, sparsest_cell, test_cell

_RULE, _TEST = "papers' rule", "test"

_NOTE = (
    "A ticket wins twice at a level that matches dense in all of three conditions: standard "
    "accuracy (SA) after standard training, and both standard and robust accuracy (RA, under "
    "attack) after adversarial training. Each condition is judged as above. A vertical line marks "
    "the sparsest level that wins twice by the papers' rule, a dotted one that by the test; dashes "
    "and the grey band are dense, and colours those of the legend above."
)


def choose(
    material: Material,
    pairs: Sequence[tuple[str, str]] = (),
    published: Iterable[Extreme] = (),
    **metrics: Any,
) -> Material:
    """Says which tasks belong together.

    Args:
        material: What was found.
        pairs: Tasks of standard and of adversarial training; those that names tell if empty.
        published: Sparsities of papers to show beside.
        metrics: What accuracies are called, see :func:`lth_core.matching.double_win`.

    Raises:
        ConfigError: If a task or metric that is asked for has no results.
    """
    matches = match(material.results) if pairs else list(_judged(material))
    found = all_double_wins(matches, pairs, **metrics)
    return replace(material, double_wins=tuple(found), published_double_wins=tuple(published))


def double_wins(material: Material) -> Iterator[Section]:
    """Verdicts over pairs of tasks, and each pair with its three conditions side by side."""
    looks = {kind: look(place) for place, kind in enumerate(all_kinds(material))}
    found: dict[tuple[str, str], list[DoubleWin]] = {}
    for each in material.double_wins:
        found.setdefault((each.standard, each.adversarial), []).append(each)
    parts: list[Part] = [_overview(found)] if found else []
    parts += _published(material.published_double_wins)
    if parts:
        for wins in found.values():
            figures = _figures(material, wins, looks)
            details = tuple(_details(each) for each in wins)
            parts.append(Group(wins[0].tasks, (*figures, *details)))
        yield Section("double-wins", "Which tickets win twice", _NOTE, tuple(parts))


def _judged(material: Material) -> Iterator[Match]:
    """Of all measures that can be; the others are told of among the verdicts."""
    for results in measures(material.results).values():
        try:
            yield from match(results)
        except ConfigError:
            continue


def _overview(found: Mapping[tuple[str, str], Sequence[DoubleWin]]) -> Table:
    """The sparsest double win of each ticket, with a column for each pair: paper C's table."""
    by_ticket: dict[str, dict[tuple[str, str], DoubleWin]] = {}
    for pair, wins in found.items():
        for each in wins:
            by_ticket.setdefault(_name(each), {})[pair] = each
    rows: list[tuple[str | Cell, ...]] = []
    for name, mine in by_ticket.items():
        for by in (_RULE, _TEST):
            cells = (_cell(mine[pair], by) if pair in mine else "" for pair in found)
            rows.append((name, by, *cells))
    return Table(
        "The sparsest level that wins twice",
        ("ticket", "by the", *_columns(list(found))),
        tuple(rows),
        frozenset(range(2, 2 + len(found))),
    )


def _columns(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What tells pairs apart: the attack may be all."""
    alone = Counter(standard for standard, _ in pairs)
    for standard, adversarial in pairs:
        yield standard if alone[standard] == 1 else adversarial


def _published(extremes: Sequence[Extreme]) -> Iterator[Table]:
    """The same of papers, which are about other networks and data."""
    for source in dict.fromkeys(each.source for each in extremes):
        mine = [each for each in extremes if each.source == source]
        tasks = list(dict.fromkeys(each.task for each in mine))
        cells = {(each.weights, each.task): percent(each.sparsity) for each in mine}
        yield Table(
            f"The same as published ({source})",
            ("ticket", *tasks),
            tuple(
                (f"transferred from {weights}", *(cells.get((weights, task), "") for task in tasks))
                for weights in dict.fromkeys(each.weights for each in mine)
            ),
            frozenset(range(1, 1 + len(tasks))),
        )


def _figures(
    material: Material, wins: Sequence[DoubleWin], looks: Mapping[Kind, Look]
) -> Iterator[Part]:
    """For each start the three conditions side by side."""
    for weights in dict.fromkeys(each.weights for each in wins):
        mine = [each for each in wins if each.weights == weights]
        figures = []
        for name, condition in mine[0].conditions.items():
            results = measures(material.results)[condition.task, condition.metric]
            panels = starts(results)
            scale = Scale.of(panels.values(), sign=results[0].sign)
            start = panels.get(weights, Start((), {}))
            paint = partial(_paint, scale, start, looks, mine)
            text = f"{condition.metric} of {condition.task} over sparsity, from {weights}. "
            text += " ".join(f"{_name(each)}: {_told(each, name)}." for each in mine)
            figures.append(Figure(f"{name}, from {weights}", drawing(paint, text)))
        yield Figures(tuple(figures), 320)


def _paint(
    scale: Scale,
    start: Start,
    looks: Mapping[Kind, Look],
    wins: Sequence[DoubleWin],
    canvas: Canvas,
) -> None:
    paint_panel(scale, start, looks, {}, canvas)
    (axes,) = canvas.axes
    for each in wins:
        look = looks[Kind(each.mask, each.variant)]
        for sparsity, line in ((each.by_rule, "-"), (each.by_test, ":")):
            if sparsity is not None:
                axes.axvline(
                    place_of(sparsity), linestyle=line, linewidth=1.2, color=look.colour,
                    gid=look.name,
                )  # fmt: skip


def _told(each: DoubleWin, name: str) -> str:
    """A figure in words."""
    single = each.conditions[name]
    return (
        f"dense {single.dense}; sparsest that matches {_cell(single, _RULE).text} by the {_RULE}, "
        f"that wins twice {_cell(each, _RULE).text}; by the {_TEST} {_cell(single, _TEST).text} "
        f"and {_cell(each, _TEST).text}"
    )


def _details(each: DoubleWin) -> Fold:
    names = tuple(each.conditions)
    sparsest: list[tuple[str | Cell, ...]] = [
        ("sparsest", by, *(_cell(each.conditions[n], by) for n in names), _cell(each, by))
        for by in (_RULE, _TEST)
    ]
    rows = [row for level in each.levels for row in _level(level)]
    table = Table(
        f"{_name(each)}: each condition by itself, and all together",
        ("level", "by the", *names, "wins twice"),
        (*sparsest, *rows),
    )
    remarks = f"; {len(each.notes)} remarks" if each.notes else ""
    return Fold(f"{_name(each)}, level by level{remarks}", (table, *map(Text, each.notes)))


def _level(level: JointLevel) -> Iterator[tuple[str | Cell, ...]]:
    gone = {name for name, verdict in level.verdicts.items() if verdict == MISSING}
    rules = {name: rule_cell(rule) for name, rule in level.rules.items()}
    tests = {name: test_cell(verdict) for name, verdict in level.verdicts.items()}
    for by, cells, wins in ((_RULE, rules, level.by_rule), (_TEST, tests, level.by_test)):
        told = (Cell(MISSING, FAINT) if name in gone else cell for name, cell in cells.items())
        yield percent(level.sparsity), by, *told, Cell("yes", GOOD) if wins else Cell("no", UNSURE)


def _cell(each: DoubleWin | Condition, by: str) -> Cell:
    if by == _RULE:
        return sparsest_cell(each.by_rule, each.rule_known)
    return sparsest_cell(each.by_test, each.test_known)


def _name(each: DoubleWin) -> str:
    return f"{Kind(each.mask, each.variant)} from {each.weights}"
