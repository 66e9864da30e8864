"""``lth match --double-win``: which tickets match after standard and adversarial training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from lth_core.matching import Condition, DoubleWin, Match

ROBUST_METRIC = "accuracy/top1/pgd-20"

_SAYS = {True: "matches", False: "does not", None: "cannot be said"}


def add_option(parser: Any) -> None:
    """Adds ``--double-win``, which may be given for several data sets."""
    parser.add_argument(
        "--double-win", nargs=2, action="append", default=[], metavar=("STANDARD", "ADVERSARIAL"),
        help="which tickets match dense in standard accuracy of the task STANDARD and in standard "
        "and robust accuracy of the task ADVERSARIAL; may be given again, for other data",
    )  # fmt: skip


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Adds what accuracies are called, beside ``--metric``."""
    parser.add_argument(
        "--robust-metric", metavar="NAME",
        help=f"robust accuracy of --double-win ({ROBUST_METRIC}); standard accuracy is --metric, "
        "or the same without what follows the last slash",
    )  # fmt: skip
    parser.add_argument(
        "--standard-metric",
        metavar="NAME",
        help="standard accuracy of STANDARD, where it has another name there than in ADVERSARIAL",
    )


def pairs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Tasks that ``--double-win`` says belong together."""
    return [(standard, adversarial) for standard, adversarial in args.double_win]


def metrics(args: argparse.Namespace, *alone: str) -> dict[str, str | None]:
    """What accuracies are called, as :func:`lth_core.matching.double_win` takes it.

    Args:
        args: The arguments.
        alone: Further options that go with ``--double-win`` alone.

    Raises:
        ConfigError: If a name that goes with ``--double-win`` alone is given without it.
    """
    for option in (*alone, "robust_metric", "standard_metric"):
        if getattr(args, option) is not None and not args.double_win:
            name = option.replace("_", "-")
            raise ConfigError(f"--{name} goes with --double-win STANDARD ADVERSARIAL")
    return {
        "robust_metric": args.robust_metric or ROBUST_METRIC,
        "metric": args.metric,
        "standard_metric": args.standard_metric,
    }


def only(matches: Sequence[Match], found: Sequence[DoubleWin]) -> list[Match]:
    """The families that are conditions of any of ``found``."""
    wanted = {(each.task, each.metric) for win in found for each in win.conditions.values()}
    return [each for each in matches if (each.family.task, each.family.metric) in wanted]


def show(found: Sequence[DoubleWin], levels: bool = False) -> None:
    """Prints the tables, and what cannot be said.

    Args:
        found: Of all pairs of tasks.
        levels: Whether every level has a line, too.
    """
    console = output.console()
    if levels:
        for each in found:
            console.print(_levels(each))
    console.print(_verdicts(found))
    standard, clean, robust = (each.metric for each in found[0].conditions.values())
    before = "" if standard == clean else f"{standard} after standard training and "
    console.print(
        f"SA, standard accuracy, is {before}{clean}; RA, robust accuracy, {robust}", soft_wrap=True
    )
    for each in found:
        for note in each.notes:
            console.print(f"{each.tasks}, {_ticket(each)}: {note}", soft_wrap=True)


def _verdicts(found: Sequence[DoubleWin]) -> Table:
    names = tuple(found[0].conditions)
    right = (*names, "double-win")
    columns = {"tasks": "left", "ticket": "left", "by": "left", **dict.fromkeys(right, "right")}
    table = output.table(
        columns, "double-win tickets: the sparsest level that matches dense in all three"
    )
    for each in found:
        rows = {"papers' rule": "rule", "test": "test"}
        for place, (title, by) in enumerate(rows.items()):
            ticket = ("", "") if place else (each.tasks, _ticket(each))
            conditions = (_sparsest(each.conditions[name], by) for name in names)
            output.add_row(table, *ticket, title, *conditions, _sparsest(each, by))
        table.add_section()
    return table


def _levels(each: DoubleWin) -> Table:
    from lth_core.matching import percent

    names = tuple(each.conditions)
    columns = ("level", "sparsity", *names, "double-win")
    title = f"{each.tasks}, {_ticket(each)}, level by level (papers' rule / test)"
    table = output.table(dict.fromkeys(columns, "right"), title)
    for level in each.levels:
        cells = []
        for name in names:
            verdict = level.verdicts[name]
            missing = verdict == "missing"
            cells.append(verdict if missing else f"{_SAYS[level.rules[name]]} / {verdict}")
        wins = f"{_yes(level.by_rule)} / {_yes(level.by_test)}"
        output.add_row(table, level.level, percent(level.sparsity), *cells, wins)
    return table


def _sparsest(each: DoubleWin | Condition, by: str) -> str:
    from lth_core.matching import percent

    known, sparsity = {
        "rule": (each.rule_known, each.by_rule),
        "test": (each.test_known, each.by_test),
    }[by]
    return percent(sparsity) if known else "cannot be said"


def _yes(wins: bool) -> str:
    return "yes" if wins else "no"


def _ticket(each: DoubleWin) -> str:
    return " ".join(filter(None, (each.mask, each.variant, "from", each.weights)))
