"""``lth compact``: a trained sparse model as a smaller dense one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.cli.lazily import extra, openmmlab
from lth_core.cli.parser import add_json
from lth_core.cli.ticket_flops import add_picture_shape, picture_shape, short

if TYPE_CHECKING:
    from rich.table import Table

    from lth_core.compaction import Compacted
    from lth_core.counts import Count

_COLUMNS = ("", "params", "left", "%", "FLOPs", "left", "%")


def add_parser(commands: Any) -> None:
    """Adds ``compact`` to the commands of a parser."""
    parser = commands.add_parser(
        "compact",
        help="remove channels of a trained model that carry nothing; ONNX",
        description="Removes the channels of a trained sparse model that carry nothing, so that "
        "its outputs stay the same but for rounding, which is checked. Zeros that are spread over "
        "channels stay: kernels compute with them as with other numbers.",
    )
    parser.add_argument("config", metavar="CONFIG", help="file, or PACKAGE::path of a package's")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="of a training from a ticket")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to (safetensors)")
    parser.add_argument("--onnx", metavar="FILE", help="write an ONNX file, checked as well")
    add_picture_shape(parser)
    parser.add_argument("--layers", action="store_true", help="show the layers that have changed")
    add_json(parser, "print exact numbers as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Compacts, writes, and says what has gone."""
    shape = picture_shape(args.shape)
    compacting = openmmlab("compact", "compacting")
    exporting = args.onnx and extra("compact --onnx", "lth_core.compaction.exporting", "onnx")
    cfg = openmmlab("compact", "launch").load_config(args.config)
    with output.working("compacting"):
        found: Compacted = compacting.compact_config(cfg, args.checkpoint, shape)
        facts = _facts(args, shape, found)
        if exporting:
            pictures = compacting.random_pictures(shape)
            facts["onnx_error"] = exporting.export_onnx(
                found.model, pictures, args.onnx, compacting.passing
            )
        if args.output:
            from lth_core.compaction import save

            save(args.output, found.model, {"shape": shape})
    if args.json:
        return facts
    _print(found, args, facts)
    return None


def _facts(args: argparse.Namespace, shape: list[int], found: Compacted) -> dict[str, Any]:
    totals = {"before": found.before.total, "after": found.after.total}
    return {
        "config": args.config,
        "checkpoint": args.checkpoint,
        "file": args.output,
        "onnx": args.onnx,
        "shape": shape,
        "error": found.error,
        **{name: {"params": total.params, "flops": total.flops} for name, total in totals.items()},
        "layers": found.layers,
    }


def _print(found: Compacted, args: argparse.Namespace, facts: dict[str, Any]) -> None:
    shape = " x ".join(map(str, facts["shape"]))
    table = output.table(_COLUMNS, f"{args.checkpoint} without dead channels, {shape}")
    before, after = found.before.stages(), found.after.stages()
    for name, own in before.items():
        output.add_row(table, name, *_cells(own, after.get(name, type(own)())))
    table.add_section()
    output.add_row(table, "all", *_cells(found.before.total, found.after.total))
    console = output.console()
    if args.layers:
        console.print(_layers(found))
    console.print(table)
    console.print(f"outputs differ by at most {found.error:.2g} of the largest")
    if args.output:
        console.print(args.output)
    if args.onnx:
        error = facts["onnx_error"]
        console.print(f"{args.onnx} (ONNX Runtime's outputs differ by at most {error:.2g})")


def _layers(found: Compacted) -> Table:
    table = output.table(("layer", "inputs", "outputs", "params", "FLOPs"), "what has changed")
    for name, change in found.layers.items():
        pairs = (change.inputs, change.outputs, change.params, change.flops)
        output.add_row(table, name, *(f"{short(a)} > {short(b)}" for a, b in pairs))
    return table


def _cells(before: Count, after: Count) -> list[str]:
    pairs = ((before.params, after.params), (before.flops, after.flops))
    return [
        cell
        for old, new in pairs
        for cell in (short(old), short(new), f"{100 * new / old:.1f}" if old else "")
    ]
