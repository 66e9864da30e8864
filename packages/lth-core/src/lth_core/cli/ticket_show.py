"""``lth ticket show``."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lth_core.imp.proof import prove
from lth_core.scope import printable
from lth_core.ticket import Ticket


def show(args: argparse.Namespace) -> None:
    """Verifies the ticket ``args.file`` and prints its layers and where it comes from.

    One that lies in the directory of its run is checked against the run's receipts too.
    """
    loaded = Ticket.load(args.file)
    proven = prove(args.file)
    console = Console()
    table = Table(title=Text(f"{args.file}: verified"), title_justify="left")
    for column in ("weight", "shape", "kept", "sparsity %"):
        table.add_column(column, justify="left" if column == "weight" else "right")
    for name, sparsity in loaded.masks.layer_sparsity().items():
        mask = loaded.masks[name]
        kept = f"{int(mask.count_nonzero()):,}"
        # Names are shown as they are: no markup for rich, no control characters for the terminal.
        shown = Text(printable(name))
        table.add_row(shown, "×".join(map(str, mask.shape)), kept, f"{100 * sparsity:.2f}")
    masks = loaded.masks
    table.add_section()
    table.add_row("all", "", f"{masks.kept:,}", f"{100 * masks.sparsity:.2f}")
    console.print(table)
    start = f"{len(loaded.weights)} tensors" if loaded.weights else "none: a mask alone"
    print(f"weights: {start}")
    print(f"digest:  {masks.digest()}")
    print(f"parent:  {printable(str(loaded.meta.get('parent') or 'none'))}")
    for key, value in sorted(loaded.meta.items()):
        if key != "parent":
            print(f"{printable(key)}: {printable(str(value), 1000)}")
    for what, holds in proven.items():
        print(f"verified {what}: {printable(holds, 1000)}")
