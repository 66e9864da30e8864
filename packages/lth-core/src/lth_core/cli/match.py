"""``lth match``: which tickets match dense, by the papers' rule and by a test."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lth_core import results
from lth_core.cli import match_double_win as double_wins
from lth_core.cli import output
from lth_core.cli.parser import add_json, did_you_mean, number
from lth_core.errors import RunError

if TYPE_CHECKING:
    from rich.table import Table

    from lth_core.matching import DoubleWin, Match, Universal

ALPHA = 0.05

_EPILOG = """
A level matches by the papers' rule if its mean is not more than one standard deviation of dense
below dense's. By the test (Welch's, of one side, Holm's method over a family's levels) it matches
if it is shown to be less than the margin worse, and is worse if it is shown to be worse; power is
how likely a level as good as dense would have been shown to match (of the least certain level),
and beside it stand the runs of either kind that would make that 0.8.

A double-win ticket matches in all three of --double-win, each by itself at this alpha. Where tasks
are called X and 'X, adversarial' they are judged so without being asked for.
"""


def add_parser(commands: Any) -> None:
    """Adds ``match`` to the commands of a parser."""
    parser = commands.add_parser(
        "match",
        help="which tickets match dense, and how sure that is",
        description="Which tickets match dense, how sparse, and how sure that is.",
        epilog=_EPILOG,
    )
    parser.add_argument("results", nargs="+", help="files of results, or directories of them")
    parser.add_argument(
        "--alpha", type=number, default=ALPHA, help="errors of the test, all levels (%(default)s)"
    )
    parser.add_argument(
        "--margin",
        type=number,
        help="how much worse than dense still matches, in the metric's units "
        "(default: one standard deviation of dense)",
    )
    parser.add_argument("--metric", help="where a task has several")
    tasks = parser.add_mutually_exclusive_group()
    tasks.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="only these, which universal tickets match on"
    )
    double_wins.add_option(tasks)
    double_wins.add_metrics(parser)
    parser.add_argument("--levels", action="store_true", help="show every level")
    add_json(parser, "print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Judges the tickets of results."""
    from lth_core import matching

    metrics = double_wins.metrics(args)
    matches = matching.match(_wanted(args), args.alpha, args.margin)
    if not matches:
        raise RunError("there are dense runs alone; nothing to match with them")
    found = matching.all_double_wins(matches, double_wins.pairs(args), **metrics)
    if args.double_win:
        matches = double_wins.only(matches, found)
    if args.json:
        return facts(matches, found)
    show(matches, args.levels, found)
    return None


def facts(matches: Sequence[Match], found: Sequence[DoubleWin] | None = None) -> dict[str, Any]:
    """What ``--json`` prints.

    Args:
        matches: Of families.
        found: Double-win tickets; those that names tell if None.
    """
    found = _double_wins(matches) if found is None else found
    return {"matches": matches, "universal": _on_every_task(matches), "double_win": found}


def show(
    matches: Sequence[Match], levels: bool = False, found: Sequence[DoubleWin] | None = None
) -> None:
    """Prints the tables, and what cannot be said.

    Args:
        matches: Of families.
        levels: Whether every level has a line, too.
        found: Double-win tickets; those that names tell if None.
    """
    found = _double_wins(matches) if found is None else found
    console = output.console()
    console.print(_families(matches))
    if levels:
        for group in _measures(matches):
            console.print(_levels(group, matches))
    tasks = _on_every_task(matches)
    if tasks:
        console.print(_universal(tasks))
    if found:
        double_wins.show(found, levels)
    told = double_wins.only(matches, found)
    for each in matches:
        for note in each.notes if each not in told else ():
            family = each.family
            name = f"{family.task}, {family.metric}, {_ticket(each, matches)}"
            console.print(f"{name}: {note}", soft_wrap=True)


def _on_every_task(matches: Sequence[Match]) -> list[Universal]:
    from lth_core.matching import universal

    measured = {(each.family.task, each.family.metric) for each in matches}
    one_each = len(measured) == len({task for task, _ in measured})
    return universal(matches) if one_each else []


def _double_wins(matches: Sequence[Match]) -> list[DoubleWin]:
    from lth_core.matching import all_double_wins

    return all_double_wins(matches)


def _wanted(args: argparse.Namespace) -> list[results.Result]:
    found = results.read(args.results)
    asked: dict[str, list[str]] = {
        "task": args.tasks or [],
        "metric": [] if args.metric is None or args.double_win else [args.metric],
    }
    for name, wanted in asked.items():
        there = sorted({getattr(result, name) for result in found})
        for each in wanted:
            if each not in there:
                hint = did_you_mean(each, there) or ";"
                raise RunError(f"there is no {name} {each!r}{hint} there are {', '.join(there)}")
        found = [result for result in found if not wanted or getattr(result, name) in wanted]
    return found


def _families(matches: Sequence[Match]) -> Table:
    from lth_core.matching import percent

    right = ("dense", "by the papers' rule", "by the test", "power", "seeds for 0.8")
    columns = {"task": "left", "ticket": "left", **dict.fromkeys(right, "right")}
    one = _only_start(matches)
    start = f", all from {one}" if one else ""
    table = output.table(columns, f"sparsest level that matches dense{start}")
    for each in matches:
        powers = [level.power for level in each.levels if level.power is not None]
        seeds = [level.seeds for level in each.levels if level.seeds is not None]
        output.add_row(
            table,
            f"{each.family.task}, {each.family.metric}",
            _ticket(each, matches),
            each.dense,
            percent(each.by_rule),
            percent(each.by_test),
            f"{min(powers):.2f}" if powers else "",
            str(max(seeds)) if seeds else "",
        )
    return table


def _measures(matches: Sequence[Match]) -> list[list[Match]]:
    """Families that are measured by the same."""
    found: dict[tuple[str, str], list[Match]] = {}
    for each in matches:
        found.setdefault((each.family.task, each.family.metric), []).append(each)
    return list(found.values())


def _levels(group: Sequence[Match], matches: Sequence[Match]) -> Table:
    from lth_core.matching import percent

    family = group[0].family
    right = ("level", "sparsity", family.metric, "better by", "papers' rule", "test", "power")
    columns = {"ticket": "left", **dict.fromkeys(right, "right")}
    table = output.table(columns, f"{family.task}, {family.metric}, level by level")
    for each in group:
        name = _ticket(each, matches)
        for place, level in enumerate(each.levels):
            rule = "" if level.rule is None else "matches" if level.rule else "does not"
            output.add_row(
                table,
                "" if place else name,
                level.level,
                percent(level.sparsity),
                level.found,
                f"{level.gain:+.4g}" if level.gain == level.gain else "",
                rule,
                level.verdict,
                "" if level.power is None else f"{level.power:.2f}",
            )
        if len(each.levels) > 1:
            table.add_section()
    return table


def _universal(found: Sequence[Universal]) -> Table:
    from lth_core.matching import percent

    columns = ("ticket", "tasks", "by the papers' rule", "by the test")
    table = output.table(columns, "universal tickets: matching on every task")
    for each in found:
        name = " ".join(filter(None, (each.mask, each.variant, "from", each.weights)))
        output.add_row(table, name, len(each.tasks), percent(each.by_rule), percent(each.by_test))
    return table


def _only_start(matches: Sequence[Match]) -> str:
    """What all start from, or nothing if that is several."""
    starts = {each.family.weights for each in matches}
    return starts.pop() if len(starts) == 1 else ""


def _ticket(each: Match, matches: Sequence[Match]) -> str:
    """A family's name, with what it starts from where that is not the same for all."""
    family = each.family
    start = () if _only_start(matches) else ("from", family.weights)
    return " ".join(filter(None, (family.mask, family.variant, *start)))
