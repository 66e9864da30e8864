"""``lth weights show``: how many of a trained network's weights are zero (paper B, Figs. 6, 10)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.cli.lazily import extra
from lth_core.cli.parser import add_json, number

if TYPE_CHECKING:
    from torch import Tensor

    from lth_core.masks import MaskSet

PLOTS = (".png", ".svg", ".pdf")


def add_parser(commands: Any) -> None:
    """Adds ``show`` to the commands of a parser."""
    show = commands.add_parser(
        "show",
        help="how many of a backbone's weights are zero",
        description="Shares of a backbone's weights that are exactly zero, and that are zero to "
        "within machine precision: of each convolution and linear layer and of all. Norms, biases "
        "and the head (the last linear layer) are left out.",
    )
    show.add_argument("file", help="a checkpoint, or a ticket with weights")
    show.add_argument("--prefix", help="which of several backbones: teacher.")
    show.add_argument(
        "--threshold",
        type=number,
        help="magnitudes up to this are near zero (machine epsilon: 1.19e-07 for float32)",
    )
    show.add_argument("--plot", metavar="FILE", help="sorted magnitudes, as .png, .svg or .pdf")
    add_json(show)
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Counts the zeros of ``args.file``, and draws magnitudes if that is asked for."""
    from lth_core.analysis import sorted_magnitudes
    from lth_core.backbones import read_backbone
    from lth_core.errors import ConfigError, RunError
    from lth_core.files import write_atomic

    if args.threshold is not None and not args.threshold >= 0:
        raise ConfigError(f"--threshold is {args.threshold}; it must be 0 or more")
    if args.plot is not None and not args.plot.endswith(PLOTS):
        raise ConfigError(f"--plot is {args.plot}; its name must end with {' or '.join(PLOTS)}")
    backbone, report = read_backbone(args.file, args.prefix)
    scope = _weights_in(backbone)
    facts = {
        "file": args.file,
        "architecture": report.arch,
        **_zeros(backbone, scope, args.threshold),
    }
    if args.plot is not None:
        plots = extra("weights show --plot", "lth_core.cli.weights_plot", "report")
        picture = plots.magnitudes(*sorted_magnitudes(backbone, scope, 1000), args.plot)
        try:
            write_atomic(args.plot, picture)
        except OSError as problem:
            raise RunError(f"{args.plot} cannot be written: {problem.strerror}") from None
    if args.json:
        return facts
    _print(facts)
    return None


def _weights_in(backbone: Mapping[str, Tensor]) -> MaskSet:
    """Masks that keep every weight of convolutions and linear layers.

    :func:`lth_core.analysis.paper_scope` does the same for whole models, and leaves out the last
    linear layer, which a backbone has been parted from already.
    """
    import torch

    from lth_core.errors import ConfigError
    from lth_core.masks import MaskSet

    found = {
        name: torch.ones(tensor.shape, dtype=torch.bool)
        for name, tensor in backbone.items()
        if name.endswith("weight") and tensor.dim() >= 2 and tensor.is_floating_point()
    }
    if not found:
        raise ConfigError("the backbone has no convolution and no linear layer")
    return MaskSet(found)


def _zeros(
    backbone: Mapping[str, Tensor], scope: MaskSet, threshold: float | None
) -> dict[str, Any]:
    from lth_core.analysis import natural_sparsity, network_order

    exact, exact_by_layer = natural_sparsity(backbone, scope, 0.0)
    near, near_by_layer = natural_sparsity(backbone, scope, threshold)
    layers = [
        {
            "name": name,
            "shape": list(scope[name].shape),
            "weights": scope[name].numel(),
            "exactly_zero": exact_by_layer[name],
            "near_zero": near_by_layer[name],
        }
        for name in network_order(scope)
    ]
    return {
        "threshold": "machine epsilon" if threshold is None else threshold,
        "weights": scope.total,
        "exactly_zero": exact,
        "near_zero": near,
        "layers": layers,
    }


def _print(facts: Mapping[str, Any]) -> None:
    table = output.table(
        ("weight", "shape", "weights", "exactly zero %", "near zero %"),
        f"{facts['file']}: {facts['architecture'] or 'backbone'}",
    )
    for layer in facts["layers"]:
        shape = "×".join(map(str, layer["shape"]))
        output.add_row(table, layer["name"], shape, *_shares(layer))
    table.add_section()
    output.add_row(table, "all", "", *_shares(facts))
    output.console().print(table)
    print(f"near zero: magnitude up to {facts['threshold']}")


def _shares(of: Mapping[str, Any]) -> list[str]:
    return [
        f"{of['weights']:,}",
        *(f"{100 * of[key]:.2f}" for key in ("exactly_zero", "near_zero")),
    ]
