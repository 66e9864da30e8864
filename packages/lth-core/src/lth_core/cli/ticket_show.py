"""``lth ticket show``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.cli.parser import add_json

if TYPE_CHECKING:
    from lth_core.ticket import Ticket


def add_parser(commands: Any) -> None:
    """Adds ``show`` to the commands of a parser."""
    show = commands.add_parser(
        "show",
        help="verify a ticket and print what it is",
        description="Verifies a ticket and prints its layers and where it comes from. One that "
        "lies in the directory of its run is checked against the run's receipts too.",
    )
    show.add_argument("file", help="a ticket")
    add_json(show)
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Verifies the ticket ``args.file`` and prints what it is."""
    from lth_core.imp.proof import prove
    from lth_core.ticket import Ticket

    ticket = Ticket.load(args.file)
    proven = prove(args.file)
    if args.json:
        return _facts(args.file, ticket, proven)
    _print(args.file, ticket, proven)
    return None


def _facts(file: str, ticket: Ticket, proven: dict[str, str]) -> dict[str, Any]:
    from lth_core.analysis import collapsed_layers

    masks = ticket.masks
    layers = [
        {
            "name": name,
            "shape": list(masks[name].shape),
            "kept": int(masks[name].count_nonzero()),
            "sparsity": sparsity,
        }
        for name, sparsity in masks.layer_sparsity().items()
    ]
    return {
        **output.ticket_facts(file, ticket),
        "verified": proven,
        "collapsed": collapsed_layers(masks),
        "layers": layers,
    }


def _print(file: str, ticket: Ticket, proven: dict[str, str]) -> None:
    from lth_core.scope import join_some, printable

    facts = _facts(file, ticket, proven)
    console = output.console()
    table = output.table(("weight", "shape", "kept", "sparsity %"), f"{file}: verified")
    for layer in facts["layers"]:
        shape = "×".join(map(str, layer["shape"]))
        output.add_row(
            table, layer["name"], shape, f"{layer['kept']:,}", f"{100 * layer['sparsity']:.2f}"
        )
    table.add_section()
    output.add_row(table, "all", "", f"{facts['kept']:,}", f"{100 * facts['sparsity']:.2f}")
    console.print(table)
    if facts["collapsed"]:
        print(
            f"warning: collapsed: nothing is kept of {join_some(facts['collapsed'])}; "
            "nothing passes there but by a way around"
        )
    start = f"{facts['weights']} tensors" if facts["weights"] else "none: a mask alone"
    print(f"weights: {start}")
    print(f"digest:  {facts['digest']}")
    print(f"parent:  {printable(str(facts['parent'] or 'none'))}")
    for key, value in sorted(ticket.meta.items()):
        if key != "parent":
            print(f"{printable(key)}: {printable(str(value), 1000)}")
    for what, holds in proven.items():
        print(f"verified {what}: {printable(holds, 1000)}")
