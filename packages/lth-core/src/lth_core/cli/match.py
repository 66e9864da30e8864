"""``lth match``: which tickets match dense, by the papers' rule and by a test."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lth_core import results
from lth_core.cli.parser import Parser
from lth_core.errors import RunError
from lth_core.matching import ALPHA, Match, Universal, match, percent, universal

_EPILOG = """
A level matches by the papers' rule if its mean is not more than one standard deviation of dense
below dense's. By the test (Welch's, of one side, Holm's method over a family's levels) it matches
if it is shown to be less than the margin worse, and is worse if it is shown to be worse; power is
how likely a level as good as dense would have been shown to match (of the least certain level),
and beside it stand the runs of either kind that would make that 0.8.
"""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(
        prog="lth match",
        description="Which tickets match dense, how sparse, and how sure that is.",
        epilog=_EPILOG,
    )
    parser.add_argument("results", nargs="+", help="files of results, or directories of them")
    parser.add_argument(
        "--alpha", type=float, default=ALPHA, help="errors of the test, all levels (%(default)s)"
    )
    parser.add_argument(
        "--margin",
        type=float,
        help="how much worse than dense still matches, in the metric's units "
        "(default: one standard deviation of dense)",
    )
    parser.add_argument("--metric", help="where a task has several")
    parser.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="only these, which universal tickets match on"
    )
    parser.add_argument("--levels", action="store_true", help="show every level")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    args = parser.parse_args(argv)
    matches = match(_wanted(args), args.alpha, args.margin)
    if not matches:
        raise RunError("there are dense runs alone; nothing to match with them")
    measured = {(each.family.task, each.family.metric) for each in matches}
    one_each = len(measured) == len({task for task, _ in measured})
    tasks = universal(matches) if one_each else []
    if args.json:
        plain = {
            "matches": [_plain(asdict(each)) for each in matches],
            "universal": [_plain(asdict(each)) for each in tasks],
        }
        print(json.dumps(plain, indent=1))
        return 0
    console = Console()
    console.print(_families(matches))
    if args.levels:
        for each in matches:
            console.print(_levels(each))
    if tasks:
        console.print(_universal(tasks))
    for each in matches:
        for note in each.notes:
            console.print(Text(f"{_name(each)}: {note}"), soft_wrap=True)
    return 0


def _wanted(args: argparse.Namespace) -> list[results.Result]:
    found = results.read(args.results)
    asked: dict[str, list[str]] = {
        "task": args.tasks or [],
        "metric": [] if args.metric is None else [args.metric],
    }
    for name, wanted in asked.items():
        there = sorted({getattr(result, name) for result in found})
        for each in wanted:
            if each not in there:
                raise RunError(f"there is no {name} {each!r}; there are {', '.join(there)}")
        found = [result for result in found if not wanted or getattr(result, name) in wanted]
    return found


def _families(matches: Sequence[Match]) -> Table:
    table = Table(title="sparsest level that matches dense")
    for column in ("task", "ticket"):
        table.add_column(column, overflow="fold")
    for column in ("dense", "by the papers' rule", "by the test", "power", "seeds for 0.8"):
        table.add_column(column, justify="right")
    for each in matches:
        powers = [level.power for level in each.levels if level.power is not None]
        seeds = [level.seeds for level in each.levels if level.seeds is not None]
        table.add_row(
            Text(f"{each.family.task}, {each.family.metric}"),
            Text(_ticket(each)),
            str(each.dense),
            percent(each.by_rule),
            percent(each.by_test),
            f"{min(powers):.2f}" if powers else "",
            str(max(seeds)) if seeds else "",
        )
    return table


def _levels(each: Match) -> Table:
    table = Table(title=Text(_name(each)))
    columns = ("level", "sparsity", each.family.metric, "better by", "papers' rule", "test")
    for column in (*columns, "power"):
        table.add_column(Text(column), justify="right")
    for level in each.levels:
        rule = "" if level.rule is None else "matches" if level.rule else "does not"
        table.add_row(
            str(level.level),
            percent(level.sparsity),
            str(level.found),
            f"{level.gain:+.4g}",
            rule,
            level.verdict,
            "" if level.power is None else f"{level.power:.2f}",
        )
    return table


def _universal(found: Sequence[Universal]) -> Table:
    table = Table(title="universal tickets: matching on every task")
    table.add_column("ticket", overflow="fold")
    table.add_column("tasks", justify="right")
    for column in ("by the papers' rule", "by the test"):
        table.add_column(column, justify="right")
    for each in found:
        name = " ".join(filter(None, (each.mask, each.variant, "from", each.weights)))
        row = (str(len(each.tasks)), percent(each.by_rule), percent(each.by_test))
        table.add_row(Text(name), *row)
    return table


def _ticket(each: Match) -> str:
    family = each.family
    return " ".join(filter(None, (family.mask, family.variant, "from", family.weights)))


def _name(each: Match) -> str:
    return f"{each.family.task}, {each.family.metric}, {_ticket(each)}"


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
