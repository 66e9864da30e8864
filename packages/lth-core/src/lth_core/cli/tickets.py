"""``lth ticket`` and ``lth weights``: looking at, making, exchanging and converting files."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from safetensors.torch import save

from lth_core import exchange
from lth_core.backbones import read_backbone
from lth_core.cli import ticket_flops, ticket_make, ticket_show
from lth_core.cli.parser import Parser
from lth_core.errors import CheckpointError, ConfigError, MaskError
from lth_core.files import write_atomic
from lth_core.masks import MaskSet
from lth_core.scope import printable
from lth_core.ticket import Ticket


def ticket(argv: Sequence[str]) -> int:
    """``lth ticket show|compare|flops|make|variant|import|export``."""
    parser = Parser(prog="lth ticket", description="Work with ticket files.")
    commands = parser.add_subparsers(dest="command", required=True)

    show = commands.add_parser("show", help="verify a ticket and print what it is")
    show.add_argument("file")
    show.set_defaults(run=ticket_show.show)

    compare = commands.add_parser("compare", help="how alike the masks of tickets are")
    compare.add_argument("files", nargs="+")
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
        _require_one_scope(args.files[0], masks[0], file, other)
    table = Table(title="intersection over union of the kept weights (by chance)")
    for column in ("", *args.files):
        table.add_column(Text(column), overflow="fold")
    for file, mine in zip(args.files, masks, strict=True):
        cells = [f"{mine.iou(other):.4f} ({_chance(mine, other):.4f})" for other in masks]
        table.add_row(Text(file), *cells)
    Console().print(table)


def _require_one_scope(one_file: str, one: MaskSet, other_file: str, other: MaskSet) -> None:
    """Only masks of the same weights can be compared."""
    problems = [f"only {one_file} has {printable(name)}" for name in one if name not in other]
    problems += [f"only {other_file} has {printable(name)}" for name in other if name not in one]
    for name in sorted(one.keys() & other.keys()):
        if one[name].shape != other[name].shape:
            shapes = tuple(one[name].shape), tuple(other[name].shape)
            problems.append(f"{printable(name)} is {shapes[0]} and {shapes[1]}")
    if problems:
        some = "; ".join(problems[:3]) + "; ..." * (len(problems) > 3)
        raise MaskError(
            f"{one_file} and {other_file} cannot be compared, their scopes differ: {some}; "
            "compare tickets of one architecture, pruned with or without the stem alike"
        )


def _chance(one: MaskSet, other: MaskSet) -> float:
    """Expected intersection over union of independent masks of these densities."""
    p, q = 1 - one.sparsity, 1 - other.sparsity
    return p * q / (p + q - p * q) if p or q else 1.0


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
