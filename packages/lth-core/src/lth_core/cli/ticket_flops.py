"""``lth ticket flops``: what a mask saves in a config's model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.cli.lazily import openmmlab
from lth_core.cli.parser import add_json, whole
from lth_core.errors import ConfigError

if TYPE_CHECKING:
    from lth_core.counts import Count

_COLUMNS = ("", "params", "kept", "%", "FLOPs", "kept", "%")


def add_parser(commands: Any) -> None:
    """Adds ``flops`` to the commands of a parser."""
    flops = commands.add_parser(
        "flops",
        help="parameters and FLOPs of a config's model with the ticket's masks",
        description="Counts the parameters and FLOPs of one pass through the model of a config, "
        "dense and without what is pruned, stage by stage. One multiply-add is one FLOP, as in "
        "OpenMMLab's get_flops.py.",
    )
    flops.add_argument("file", help="a ticket, or a checkpoint of a training from one")
    flops.add_argument("--config", required=True, help="file, or PACKAGE::path of a package's")
    add_picture_shape(flops)
    flops.add_argument(
        "--layers", action="store_true", help="layer by layer instead of stage by stage"
    )
    add_json(flops, "print exact numbers as JSON")
    flops.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Counts."""
    shape = picture_shape(args.shape)
    complexity = openmmlab("ticket flops", "complexity")
    masks = complexity.read_masks(args.file)
    cfg = openmmlab("ticket flops", "launch").load_config(args.config)
    counts = complexity.count_config(cfg, masks, shape)
    if args.json:
        content = {"shape": shape, "total": counts.total, "stages": counts.stages()}
        return {**content, "layers": counts.layers()} if args.layers else content
    size = " x ".join(map(str, shape))
    parts = counts.layers() if args.layers else counts.stages()
    _print(parts, counts.total, f"{args.config}, {size}, with the masks of {args.file}")
    return None


def add_picture_shape(parser: argparse.ArgumentParser) -> None:
    """Adds ``--shape``; see :func:`picture_shape`."""
    parser.add_argument(
        "--shape",
        type=whole(1),
        nargs="+",
        default=[3, 224, 224],
        metavar="N",
        help="of the picture: [channels] height width (3 224 224)",
    )


def picture_shape(given: list[int]) -> list[int]:
    """``--shape`` with its channels.

    Raises:
        ConfigError: If it is none.
    """
    shape = [3, *given] if len(given) == 2 else given
    if len(shape) != 3:
        raise ConfigError(f"--shape is {' '.join(map(str, given))}; give height and width")
    return shape


def _print(parts: dict[str, Count], total: Count, title: str) -> None:
    table = output.table(_COLUMNS, title)
    for name, own in parts.items():
        output.add_row(table, name, *_cells(own))
    table.add_section()
    output.add_row(table, "all", *_cells(total))
    output.console().print(table)


def _cells(own: Count) -> list[str]:
    pairs = ((own.params, own.kept_params), (own.flops, own.kept_flops))
    return [
        cell
        for dense, kept in pairs
        for cell in (short(dense), short(kept), f"{100 * kept / dense:.1f}" if dense else "")
    ]


def short(number: int) -> str:
    """``number`` with two decimals and a letter for its thousands."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:.2f} {letter}"
    return str(number)
