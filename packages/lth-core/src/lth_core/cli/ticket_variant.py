"""``lth ticket variant``: controls, which are tickets made of others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lth_core.cli import output
from lth_core.cli.parser import add_json
from lth_core.variant_kinds import all_settings, kinds, make_variant


def add_parser(commands: Any) -> None:
    """Adds ``variant`` to the commands of a parser, with the options of every kind."""
    known = kinds()
    listed = "\n".join(f"  {name}: {kind.__doc__}" for name, kind in known.items())
    variant = commands.add_parser(
        "variant",
        help=f"a control: {', '.join(known)}",
        description=f"Makes a control of a ticket, of one of these kinds:\n\n{listed}",
    )
    variant.add_argument("file", help="a ticket")
    variant.add_argument("kind", choices=list(known), help="see above")
    variant.add_argument("--weights", help="checkpoint to start from; without it a mask alone")
    for each in all_settings():
        text = f"{each.help} (default: {each.default}; {', '.join(each.kinds)})"
        option: dict[str, Any] = {"help": text, "dest": each.name, "default": argparse.SUPPRESS}
        if each.values.parse is None:
            option["action"] = "store_true"
        else:
            option["type"] = each.values.parse
            option["choices"] = each.values.choices or None
        variant.add_argument(f"--{each.name.replace('_', '-')}", **option)
    variant.add_argument("-o", "--output", required=True, help="ticket to write")
    add_json(variant, "print what was made as JSON")
    variant.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Derives a ticket from another."""
    from lth_core.backbones import load_backbone
    from lth_core.ticket import Ticket

    given = {each.name for each in all_settings()} & vars(args).keys()
    made = make_variant(args.kind, {name: getattr(args, name) for name in sorted(given)})
    source = Ticket.load(args.file)
    masks = made.derive(source.masks)
    # The ticket holds the survivors' values only, so without a checkpoint this is a mask alone.
    start = None if args.weights is None else load_backbone(args.weights)
    settings = made.settings()
    if settings.get("among"):
        settings["among"] = Path(settings["among"]).name  # a ticket travels; its maker's disk not
    meta = {key: value for key, value in source.meta.items() if key != "weights"}
    meta |= {"variant": settings, "of": source.masks.digest()}
    if args.weights is not None:
        meta["weights"] = Path(args.weights).name
    ticket = Ticket(masks, start, meta)
    ticket.save(args.output)
    if args.json:
        return output.ticket_facts(args.output, ticket)
    print(f"{args.output}: {masks!r}")
    return None
