"""``lth ticket`` and ``lth weights``: looking at, making, exchanging and converting files."""

from __future__ import annotations

import argparse
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from safetensors.torch import save

from lth_core import exchange
from lth_core.analysis import (
    expected_by_chance,
    require_one_scope,
    similarity,
    similarity_matrix,
)
from lth_core.backbones import read_backbone
from lth_core.cli import ticket_flops, ticket_make, ticket_show
from lth_core.cli.parser import Parser
from lth_core.errors import CheckpointError, ConfigError
from lth_core.files import write_atomic
from lth_core.masks import MaskSet
from lth_core.ticket import Ticket

_MEASURES = {
    "iou": "intersection over union of the kept weights",
    "overlap": "kept in both over the smaller number kept",
    "hamming": "fraction of weights on which the masks disagree",
}


def ticket(argv: Sequence[str]) -> int:
    """``lth ticket show|compare|flops|make|variant|import|export``."""
    parser = Parser(prog="lth ticket", description="Work with ticket files.")
    commands = parser.add_subparsers(dest="command", required=True)

    show = commands.add_parser("show", help="verify a ticket and print what it is")
    show.add_argument("file")
    show.set_defaults(run=ticket_show.show)

    compare = commands.add_parser("compare", help="how alike the masks of tickets are")
    compare.add_argument("files", nargs="+")
    compare.add_argument(
        "--measure", choices=list(_MEASURES), default="iou", help="what to show (%(default)s)"
    )
    compare.add_argument("--json", action="store_true", help="every measure of every pair, as JSON")
    compare.set_defaults(run=_compare)

    ticket_flops.add_flops(commands)
    ticket_make.add_make(commands)
    ticket_make.add_variant(commands)

    bring = commands.add_parser("import", help="tickets of the papers' mask files")
    bring.add_argument("files", nargs="+", help="mask files; of a chain the densest first")
    bring.add_argument("--weights", help="checkpoint to start from; without it a mask alone")
    bring.add_argument("-o", "--output", required=True, help="a ticket, or a directory for several")
    bring.set_defaults(run=_import)

    write = commands.add_parser("export", help="a ticket as a file that others read")
    write.add_argument("file")
    write.add_argument("--format", choices=list(exchange.FORMATS), required=True)
    write.add_argument("--prefix", default="", help="put before every name: module.")
    write.add_argument("-o", "--output", required=True)
    write.set_defaults(run=_export)

    args = parser.parse_args(argv)
    args.run(args)
    return 0


def weights(argv: Sequence[str]) -> int:
    """``lth weights convert``."""
    parser = Parser(prog="lth weights", description="Work with checkpoints.")
    commands = parser.add_subparsers(dest="command", required=True)
    convert = commands.add_parser("convert", help="a backbone with torchvision's names")
    convert.add_argument("file")
    convert.add_argument("-o", "--output", required=True, help=".pth or .safetensors")
    convert.add_argument("--prefix", help="which of several backbones: teacher.")
    args = parser.parse_args(argv)
    backbone, report = read_backbone(args.file, args.prefix)
    # Copies, since safetensors refuses views, and torch.save would write all that they view.
    plain = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in backbone.items()
    }
    buffer = io.BytesIO()
    if Path(args.output).suffix == ".safetensors":
        buffer.write(save(plain))
    else:
        torch.save(plain, buffer)
    try:
        write_atomic(args.output, buffer.getvalue())
    except OSError as problem:
        raise CheckpointError(f"{args.output} cannot be written: {problem.strerror}") from None
    print(f"{args.output}: {len(backbone)} tensors")
    for line in str(report).split("; "):
        print(f"  {line}")
    return 0


def _compare(args: argparse.Namespace) -> None:
    if len(args.files) < 2:
        raise ConfigError("lth ticket compare needs at least two tickets")
    masks = [Ticket.load(file).masks for file in args.files]
    for file, other in zip(args.files[1:], masks[1:], strict=True):
        require_one_scope(masks[0], other, (args.files[0], file))
    if args.json:
        pairs = itertools.combinations(zip(args.files, masks, strict=True), 2)
        print(json.dumps([_pair(*one, *other) for one, other in pairs], indent=1))
        return
    table = Table(title=f"{_MEASURES[args.measure]} (by chance)")
    for column in ("", *args.files):
        table.add_column(Text(column), overflow="fold")
    matrix = similarity_matrix(masks)
    for file, mine, row in zip(args.files, masks, matrix, strict=True):
        chances = [expected_by_chance(mine, other) for other in masks]
        cells = [
            f"{getattr(found, args.measure):.4f} ({getattr(chance, args.measure):.4f})"
            for found, chance in zip(row, chances, strict=True)
        ]
        table.add_row(Text(file), *cells)
    Console().print(table)


def _pair(one_file: str, one: MaskSet, other_file: str, other: MaskSet) -> dict[str, Any]:
    """All measures of two tickets' masks, and what chance gives."""
    return {
        "files": [one_file, other_file],
        "sparsity": [one.sparsity, other.sparsity],
        **asdict(similarity(one, other)),
        "by_chance": asdict(expected_by_chance(one, other)),
        "by_chance_in_layers": asdict(expected_by_chance(one, other, match="layer")),
    }


def _import(args: argparse.Namespace) -> None:
    tickets = exchange.import_tickets(args.files, args.weights)
    output = Path(args.output)
    names = [Path(file).name.partition(".")[0] + ".safetensors" for file in args.files]
    if len(set(names)) < len(names):
        raise ConfigError("two of the files have the same name; import them one by one")
    for name, new in zip(names, tickets, strict=True):
        path = output / name if len(names) > 1 or output.is_dir() else output
        new.save(path)
        print(f"{path}: {new.masks!r}")


def _export(args: argparse.Namespace) -> None:
    count = exchange.export(Ticket.load(args.file), args.output, args.format, args.prefix)
    print(f"{args.output}: {count} tensors, format {args.format}")
