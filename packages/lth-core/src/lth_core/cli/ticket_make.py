"""``lth ticket make``: one-shot tickets of checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_core.cli import output
from lth_core.cli.parser import add_json, number, whole
from lth_core.errors import ConfigError

if TYPE_CHECKING:
    from lth_core.allocation import Allocation

_LIKE = "like="
_AMOUNT = 0.2


def add_parser(commands: Any) -> None:
    """Adds ``make`` to the commands of a parser."""
    make = commands.add_parser(
        "make",
        help="a one-shot ticket of any checkpoint",
        description="Prunes a checkpoint and keeps the survivors' weights. How much is pruned is "
        "said by --level, or by --structure, or by --allocation like=FILE.",
    )
    make.add_argument("weights", help="checkpoint to prune and to start from")
    make.add_argument("--level", type=whole(), help="number of prunes")
    make.add_argument("--amount", type=number, help=f"fraction of each ({_AMOUNT})")
    make.add_argument(
        "--criterion",
        default="magnitude",
        help="by which weights are ranked: magnitude or random (magnitude)",
    )
    make.add_argument(
        "--allocation",
        help="how prunes spread over layers: global, uniform, erk, or like=FILE, as many in every "
        "layer as that ticket keeps (global)",
    )
    make.add_argument("--structure", metavar="N:M", help="keep N of every M neighbours: 2:4")
    make.add_argument(
        "--seed", type=whole(below=2**63), default=0, help="of --criterion random (0)"
    )
    make.add_argument("--stem", action="store_true", help="prune the stem too (papers B and C)")
    make.add_argument("-o", "--output", required=True, help="ticket to write")
    add_json(make, "print what was made as JSON")
    make.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Prunes a checkpoint."""
    import torch

    from lth_core.allocation import AsIn
    from lth_core.backbones import load_backbone
    from lth_core.checkpoints import stem
    from lth_core.masks import MaskSet
    from lth_core.pruning import prune, sparsity_after
    from lth_core.scope import prunable_in
    from lth_core.ticket import WEIGHTS_NAME, Ticket

    allocation = _allocation(args.allocation)
    _require_one_amount(args, isinstance(allocation, AsIn))
    _require_of_weights(args.criterion)
    amount = _AMOUNT if args.amount is None else args.amount
    generator = torch.Generator().manual_seed(args.seed)
    backbone = load_backbone(args.weights)
    names = prunable_in(backbone, args.stem)
    masks = MaskSet({n: torch.ones(backbone[n].shape, dtype=torch.bool) for n in names})
    # In steps, so that counts round as in an iterative chain.
    for _ in range(1 if args.level is None else args.level):
        before = masks
        masks = prune(
            backbone, masks, amount, args.criterion, allocation, generator, args.structure
        )
        if masks.kept == before.kept:  # too few are left for a share of them to be one
            break
    meta: dict[str, Any] = {
        "criterion": args.criterion,
        "allocation": "like" if isinstance(allocation, AsIn) else allocation,
        "one_shot": True,
        "source": Path(args.weights).name,
        WEIGHTS_NAME: stem(args.weights),
        "stem": args.stem,
    }
    if args.level is not None:
        meta |= {"level": args.level, "nominal_sparsity": sparsity_after(args.level, amount)}
    if args.structure is not None:
        meta |= {"structure": args.structure}
    if isinstance(allocation, AsIn):
        meta |= {"like": allocation.target.digest()}
    if args.criterion != "magnitude":
        meta |= {"seed": args.seed}
    ticket = Ticket(masks, backbone, meta)
    ticket.save(args.output)
    if args.json:
        return output.ticket_facts(args.output, ticket)
    print(f"{args.output}: {masks!r}")
    return None


def _require_of_weights(criterion: str) -> None:
    """Of a checkpoint there are weights alone: no model to run, and no data."""
    import torch

    from lth_core.scores import Subject, get_criterion

    trial = Subject({"w": torch.zeros(1)}, {"w": torch.ones(1, dtype=torch.bool)})
    try:
        get_criterion(criterion).scores(trial, torch.Generator())
    except ConfigError as problem:
        raise ConfigError(
            f"--criterion {criterion} does not rank a checkpoint's weights: {problem}; use "
            "magnitude or random here, or lth.prune in Python"
        ) from None


def _allocation(wanted: str | None) -> str | Allocation:
    """What ``--allocation`` names."""
    from lth_core.allocation import AsIn, get_allocation
    from lth_core.ticket import Ticket

    if wanted is None:
        return "global"
    if wanted.startswith(_LIKE):
        return AsIn(Ticket.load(wanted.removeprefix(_LIKE)).masks)
    try:
        get_allocation(wanted)
    except ConfigError as problem:
        raise ConfigError(f"{problem}, or {_LIKE}FILE") from None
    return wanted


def _require_one_amount(args: argparse.Namespace, like: bool) -> None:
    """How much is pruned must be said once."""
    from lth_core.nm import Pattern

    if args.structure is not None:
        Pattern.parse(args.structure)
        if args.allocation is not None:
            raise ConfigError("--structure sets what each layer keeps; leave --allocation out")
    setter = "--structure" if args.structure is not None else f"--allocation {_LIKE}" * like
    if setter and (args.level is not None or args.amount is not None):
        raise ConfigError(f"{setter} sets how much is pruned; leave --level and --amount out")
    if not setter and args.level is None:
        raise ConfigError(
            f"how much is to be pruned? give --level, --structure or --allocation {_LIKE}FILE"
        )
    if args.amount is not None and not 0 <= args.amount <= 1:
        raise ConfigError(f"--amount is {args.amount}; it must lie between 0 and 1")
