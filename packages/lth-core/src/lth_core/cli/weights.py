"""``lth weights``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lth_core.cli import output, weights_show
from lth_core.cli.parser import add_commands, add_json


def add_parser(commands: Any) -> None:
    """Adds ``weights`` to the commands of a parser."""
    parser = commands.add_parser(
        "weights", help="show or convert checkpoints", description="Work with checkpoints."
    )
    own = add_commands(parser)
    weights_show.add_parser(own)
    convert = own.add_parser(
        "convert",
        help="a backbone with torchvision's names",
        description="Finds the backbone in a checkpoint of any known format and writes it with "
        "torchvision's names, without heads.",
    )
    convert.add_argument("file", help="checkpoint to read")
    convert.add_argument("-o", "--output", required=True, help=".pth or .safetensors")
    convert.add_argument("--prefix", help="which of several backbones: teacher.")
    add_json(convert, "print what was found, left and missing as JSON")
    convert.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Converts a checkpoint."""
    import io
    from dataclasses import asdict

    import torch
    from safetensors.torch import save

    from lth_core.backbones import read_backbone
    from lth_core.errors import CheckpointError
    from lth_core.files import write_atomic

    with output.working(f"reading {args.file}"):
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
    if args.json:
        return {"file": args.output, "source": args.file, **asdict(report)}
    print(f"{args.output}: {len(backbone)} tensors")
    for line in str(report).split("; "):
        print(f"  {line}")
    return None
