"""``lth ticket``."""

from __future__ import annotations

from typing import Any

from lth_core.cli import (
    ticket_compare,
    ticket_exchange,
    ticket_flops,
    ticket_make,
    ticket_show,
    ticket_variant,
)
from lth_core.cli.parser import add_commands


def add_parser(commands: Any) -> None:
    """Adds ``ticket`` with its own commands to the commands of a parser."""
    parser = commands.add_parser(
        "ticket",
        help="show, compare, count, make, import, export or vary tickets",
        description="Work with ticket files.",
    )
    own = add_commands(parser)
    ticket_show.add_parser(own)
    ticket_compare.add_parser(own)
    ticket_flops.add_parser(own)
    ticket_make.add_parser(own)
    ticket_variant.add_parser(own)
    ticket_exchange.add_import(own)
    ticket_exchange.add_export(own)
