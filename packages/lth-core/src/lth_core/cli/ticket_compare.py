"""``lth ticket compare``."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.cli.parser import add_json
from lth_core.errors import ConfigError

if TYPE_CHECKING:
    from lth_core.masks import MaskSet

_MEASURES = {
    "iou": "intersection over union of the kept weights",
    "overlap": "kept in both over the smaller number kept",
    "hamming": "fraction of weights on which the masks disagree",
}


def add_parser(commands: Any) -> None:
    """Adds ``compare`` to the commands of a parser."""
    listed = "".join(f"\n  {name:<8} {text}" for name, text in _MEASURES.items())
    compare = commands.add_parser(
        "compare",
        help="how alike the masks of tickets are",
        description="Compares the masks of tickets, each with each. Beside every number stands "
        f"what independent masks of the same sparsities would show.\n\n{listed}",
    )
    compare.add_argument("files", nargs="+", help="tickets, two or more")
    compare.add_argument(
        "--measure", choices=list(_MEASURES), default="iou", help="what to show (%(default)s)"
    )
    add_json(compare, "print every measure of every pair as JSON")
    compare.set_defaults(run=run)


def run(args: argparse.Namespace) -> list[dict[str, Any]] | None:
    """Compares tickets."""
    from lth_core.analysis import require_one_scope
    from lth_core.ticket import Ticket

    if len(args.files) < 2:
        raise ConfigError("lth ticket compare needs at least two tickets")
    masks = [Ticket.load(file).masks for file in output.progress(args.files, "reading")]
    for file, other in zip(args.files[1:], masks[1:], strict=True):
        require_one_scope(masks[0], other, (args.files[0], file))
    named = list(zip(args.files, masks, strict=True))
    if args.json:
        pairs = list(itertools.combinations(named, 2))
        return [_pair(*one, *other) for one, other in output.progress(pairs, "comparing")]
    _print(named, args.measure)
    return None


def _pair(one_file: str, one: MaskSet, other_file: str, other: MaskSet) -> dict[str, Any]:
    """All measures of two tickets' masks, and what chance gives."""
    from lth_core.analysis import expected_by_chance, similarity

    return {
        "files": [one_file, other_file],
        "sparsity": [one.sparsity, other.sparsity],
        **vars(similarity(one, other)),
        "by_chance": expected_by_chance(one, other),
        "by_chance_in_layers": expected_by_chance(one, other, match="layer"),
    }


def _print(named: list[tuple[str, MaskSet]], measure: str) -> None:
    from lth_core.analysis import expected_by_chance, similarity

    table = output.table(["", *(file for file, _ in named)], f"{_MEASURES[measure]} (by chance)")
    for file, mine in output.progress(named, "comparing"):
        found = [(similarity(mine, other), expected_by_chance(mine, other)) for _, other in named]
        cells = [f"{getattr(f, measure):.4f} ({getattr(c, measure):.4f})" for f, c in found]
        output.add_row(table, file, *cells)
    output.console().print(table)
