"""``lth ticket import`` and ``lth ticket export``: the mask files of others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lth_core.cli import output
from lth_core.cli.parser import add_json
from lth_core.errors import ConfigError

FORMATS = ("papers", "torch-prune", "dense")


def add_import(commands: Any) -> None:
    """Adds ``import`` to the commands of a parser."""
    bring = commands.add_parser(
        "import",
        help="tickets of the papers' mask files",
        description="Makes tickets of files with masks as the papers' code and "
        "torch.nn.utils.prune write them. Several files are the levels of one chain.",
    )
    bring.add_argument("files", nargs="+", help="mask files; of a chain the densest first")
    bring.add_argument("--weights", help="checkpoint to start from; without it a mask alone")
    bring.add_argument("-o", "--output", required=True, help="a ticket, or a directory for several")
    add_json(bring, "print the tickets made as JSON")
    bring.set_defaults(run=_import)


def add_export(commands: Any) -> None:
    """Adds ``export`` to the commands of a parser."""
    write = commands.add_parser(
        "export",
        help="a ticket as a file that others read",
        description="""
Writes a ticket with torch.save in a form that others read:

  papers       a dictionary of *.weight_mask tensors of zeros and ones
  torch-prune  a state dict as torch.nn.utils.prune leaves it, *.weight_orig and *.weight_mask
  dense        an ordinary state dict with zeros where pruned
""",
    )
    write.add_argument("file", help="a ticket")
    write.add_argument("--format", choices=FORMATS, required=True, help="see above")
    write.add_argument("--prefix", default="", help="put before every name: module.")
    write.add_argument("-o", "--output", required=True, help="file to write")
    add_json(write, "print what was written as JSON")
    write.set_defaults(run=_export)


def _import(args: argparse.Namespace) -> list[dict[str, Any]] | None:
    from lth_core import exchange

    target = Path(args.output)
    names = [Path(file).name.partition(".")[0] + ".safetensors" for file in args.files]
    if len(set(names)) < len(names):
        raise ConfigError("two of the files have the same name; import them one by one")
    with output.working("reading"):
        tickets = exchange.import_tickets(args.files, args.weights)
    made = []
    for name, new in output.progress(list(zip(names, tickets, strict=True)), "writing"):
        path = target / name if len(names) > 1 or target.is_dir() else target
        new.save(path)
        made.append((path, new))
    if args.json:
        return [output.ticket_facts(path, new) for path, new in made]
    for path, new in made:
        print(f"{path}: {new.masks!r}")
    return None


def _export(args: argparse.Namespace) -> dict[str, Any] | None:
    from lth_core.exchange import export
    from lth_core.ticket import Ticket

    count = export(Ticket.load(args.file), args.output, args.format, args.prefix)
    if args.json:
        return {"file": args.output, "source": args.file, "format": args.format, "tensors": count}
    print(f"{args.output}: {count} tensors, format {args.format}")
    return None
