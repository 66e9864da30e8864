"""``lth ticket flops``: what a mask saves in a config's model."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lth_core.cli.lazily import openmmlab
from lth_core.counts import Count, Counts
from lth_core.errors import ConfigError
from lth_core.scope import printable

_COLUMNS = ("", "params", "kept", "%", "FLOPs", "kept", "%")


def add_flops(commands: Any) -> None:
    """Adds ``flops`` to the sub-commands of a parser."""
    flops = commands.add_parser(
        "flops",
        help="parameters and FLOPs of a config's model with the ticket's masks",
        description="Counts the parameters and FLOPs of one pass through the model of a config, "
        "dense and without what is pruned, stage by stage. One multiply-add is one FLOP, as in "
        "OpenMMLab's get_flops.py.",
    )
    flops.add_argument("file", help="a ticket, or a checkpoint of a training from one")
    flops.add_argument("--config", required=True, help="file, or PACKAGE::path of a package's")
    flops.add_argument(
        "--shape",
        type=int,
        nargs="+",
        default=[3, 224, 224],
        metavar="N",
        help="of the picture: [channels] height width (3 224 224)",
    )
    flops.add_argument("--json", action="store_true", help="print JSON, with exact numbers")
    flops.set_defaults(run=_flops)


def _flops(args: argparse.Namespace) -> None:
    shape = _shape(args.shape)
    complexity = openmmlab("ticket flops", "complexity")
    masks = complexity.read_masks(args.file)
    cfg = openmmlab("ticket flops", "launch").load_config(args.config)
    counts = complexity.count_config(cfg, masks, shape)
    if args.json:
        stages = {name: asdict(own) for name, own in counts.stages().items()}
        content = {"shape": shape, "total": asdict(counts.total), "stages": stages}
        print(json.dumps(content, indent=2))
    else:
        size = " x ".join(map(str, shape))
        _print(counts, f"{args.config}, {size}, with the masks of {args.file}")


def _shape(given: list[int]) -> list[int]:
    shape = [3, *given] if len(given) == 2 else given
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(f"--shape is {' '.join(map(str, given))}; give height and width")
    return shape


def _print(counts: Counts, title: str) -> None:
    table = Table(title=Text(printable(title, 300)), title_justify="left")
    for place, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if place else "left")
    for name, own in counts.stages().items():
        table.add_row(Text(printable(name)), *_cells(own))
    table.add_section()
    table.add_row("all", *_cells(counts.total))
    Console().print(table)


def _cells(own: Count) -> list[str]:
    pairs = ((own.params, own.kept_params), (own.flops, own.kept_flops))
    return [
        cell
        for dense, kept in pairs
        for cell in (_short(dense), _short(kept), f"{100 * kept / dense:.1f}" if dense else "")
    ]


def _short(number: int) -> str:
    """``number`` with two decimals and a letter for its thousands."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:.2f} {letter}"
    return str(number)
