"""What a ticket gives at inference: milliseconds a batch, dense, sparse and compacted.

    python benchmarks/inference.py [--small] [--chain DIR ...] [--output FILE]

- Levels of a chain on the handwritten digits, or of chains of one's own (``--chain``, directories
  of ``imp`` runs): the dense level, the level as it is, the level without dead channels, and that
  in ONNX Runtime. The masks are real, so how much goes is what pruning has left. The chain on
  digits is found first, in ``work_dirs/benchmarks``, unless it is there.
- ResNet-50 (small: ResNet-18) pruned by magnitude from random weights: the same sides. At first the
  zeros are spread evenly and no channel is dead: that shows what sparsity alone gives. In the end
  layers whose weights began small are emptied altogether, and a net that computes little is left.
- 2:4, on a GPU: ResNet-50 in half precision, its 1 x 1 convolutions on sparse tensor cores.
- One product of a sparse matrix (CSR) with a dense one on the CPU, beside the dense product.

All sides of a row's group take turns in one process, on one core where there is no GPU. Numbers
are medians, with the quarter and three-quarter points; "to dense" is the median of the ratios of
neighbouring calls.
"""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torchvision
from _common import arguments, interleave, ratio, report
from lth_core.checkpoints import read_state
from lth_core.compaction import compact, exporting
from lth_core.compaction.semi_structured import semi_structured
from lth_core.openmmlab import LTHRunner, compacting
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.models import build_for_use
from lth_core.randomness import isolated
from torch import Tensor, nn

CHAINS = Path("work_dirs/benchmarks")
Call = Callable[[], object]


def device() -> str:
    """Where to measure."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_side(model: nn.Module, pictures: Tensor, forward: Callable[..., Any] | None) -> Call:
    """A pass of a model of torch, on the GPU if there is one."""
    model = copy.deepcopy(model).eval().to(device(), memory_format=torch.channels_last)
    given = pictures.to(device(), memory_format=torch.channels_last)
    call = forward or (lambda module, images: module(images))

    def step() -> object:
        with torch.inference_mode():
            return call(model, given)

    return step


def onnx_side(model: nn.Module, pictures: Tensor, forward: Callable[..., Any] | None) -> Call:
    """The same in ONNX Runtime, on the CPU with as many threads as torch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        exporting.export_onnx(model, pictures, path, forward)
        session = exporting.open_session(path.read_bytes(), torch.get_num_threads())
    images = pictures.numpy()
    return lambda: exporting.run_session(session, images)


def measure(
    group: str, sides: dict[str, Call], facts: dict[str, dict[str, Any]], rounds: int
) -> list[dict[str, Any]]:
    """Rows of one group; the first side is what the others are compared with."""
    seconds = interleave(sides, rounds, warm_up=3, device=device())
    first = next(iter(sides))
    rows = []
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles([1000 * t for t in times], n=4)
        speed = {"median ms": middle, "quartiles": f"{low:.4g} to {high:.4g}"}
        speed["to dense"] = ratio(times, seconds[first])
        blank = {"sparsity %": "", "Mparams": "", "GFLOPs": "", "removed %": ""}
        rows.append({"group": group, "side": name, **blank, **facts.get(name, {}), **speed})
    return rows


def ladder(
    group: str,
    dense: nn.Module,
    sparse: dict[str, nn.Module],
    pictures: Tensor,
    rounds: int,
    forward: Callable[..., Any] | None = None,
) -> list[dict[str, Any]]:
    """Dense, and of each sparse model what it is as it stands, compacted, and in ONNX Runtime."""
    sides = {"dense": torch_side(dense, pictures, forward)}
    sides["dense, ONNX"] = onnx_side(dense, pictures, forward)
    facts: dict[str, dict[str, Any]] = {}
    for name, model in sparse.items():
        found = compact(model, pictures, forward)
        before, after = found.before.total, found.after.total
        zero = sum(int((p == 0).sum()) for n, p in model.named_parameters() if p.dim() > 1)
        weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
        share = 100 * zero / weights
        flops = [each.flops / len(pictures) / 1e9 for each in (before, after)]  # of one picture
        size = {"sparsity %": share, "Mparams": before.params / 1e6, "GFLOPs": flops[0]}
        facts[f"{name}, stock"] = size
        left = {"Mparams": after.params / 1e6, "GFLOPs": flops[1]}
        gone = {"removed %": 100 * (1 - after.params / before.params)}
        facts[f"{name}, compacted"] = {"sparsity %": share, **left, **gone}
        facts.setdefault("dense", {**size, "sparsity %": 0.0})
        sides[f"{name}, stock"] = torch_side(model, pictures, forward)
        sides[f"{name}, compacted"] = torch_side(found.model, pictures, forward)
        sides[f"{name}, compacted, ONNX"] = onnx_side(found.model, pictures, forward)
    return measure(group, sides, facts, rounds)


def of_chain(
    folder: Path, levels: list[int] | None, batch: int, size: int, rounds: int
) -> list[dict[str, Any]]:
    """Levels of a chain of mmpretrain's classifiers."""
    found = {int(path.name[6:]): path for path in sorted(folder.glob("level_[0-9]*"))}
    config = next(folder.glob("level_00/*.py"))
    cfg = load_config(str(config))
    models = {}
    for level, path in found.items():
        if levels is None or level in levels or level == 0:
            with isolated(0):
                models[level] = build_for_use(cfg)
            state = read_state(path / (path / "last_checkpoint").read_text().rpartition("/")[2])
            models[level].load_state_dict({n: state[n] for n in models[level].state_dict()})
    pictures = torch.randn(batch, 3, size, size)
    sparse = {f"level {level}": model for level, model in models.items() if level}
    group = f"{folder.name}, batch {batch}, {size} px"
    return ladder(group, models[0], sparse, pictures, rounds, compacting.passing)


def of_magnitude(
    arch: str, levels: list[int], batch: int, size: int, rounds: int
) -> list[dict[str, Any]]:
    """Levels of global magnitude pruning of random weights."""
    torch.manual_seed(0)
    dense = getattr(torchvision.models, arch)().eval()
    masks = lth.MaskSet.ones(dense, lth.prunable(dense))
    sparse = {}
    for level in range(1, max(levels) + 1):
        masks = lth.prune(dense, masks, amount=0.2)
        if level in levels:
            sparse[f"level {level}"] = masked(dense, masks)
    pictures = torch.randn(batch, 3, size, size)
    group = f"{arch}, random weights, batch {batch}, {size} px"
    return ladder(group, dense, sparse, pictures, rounds)


def masked(model: nn.Module, masks: lth.MaskSet) -> nn.Module:
    """A copy with exact zeros."""
    model = copy.deepcopy(model)
    for name, mask in masks.items():
        model.get_parameter(name).data *= mask
    return model


def two_of_four(batch: int, size: int, rounds: int) -> list[dict[str, Any]]:
    """ResNet-50 with 2:4 masks, dense kernels and sparse ones."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50().eval()
    names = lth.prunable(model)
    masks = lth.prune(model, lth.MaskSet.ones(model, names), structure="2:4")
    model = masked(model, masks).to("cuda", torch.bfloat16)
    sparse, packed = semi_structured(model)
    pictures = torch.randn(batch, 3, size, size, dtype=torch.bfloat16)
    sides = {
        "dense kernels": torch_side(model, pictures, None),
        f"2:4 kernels in {len(packed)} layers": torch_side(sparse, pictures, None),
    }
    return measure(f"resnet50, 2:4, bfloat16, batch {batch}, {size} px", sides, {}, rounds)


def csr(width: int, columns: int, rounds: int) -> list[dict[str, Any]]:
    """One product on the CPU, its left matrix sparse."""
    torch.manual_seed(0)
    weight, right = torch.randn(width, width), torch.randn(width, columns)
    sides: dict[str, Call] = {"dense": lambda: weight @ right}
    for sparsity in (0.9, 0.95, 0.98):
        mask = torch.rand(width, width) >= sparsity
        matrix = (weight * mask).to_sparse_csr()
        sides[f"CSR, {100 * sparsity:.0f} %"] = lambda matrix=matrix: matrix @ right
    group = f"product {width} x {width} x {columns}, CPU"
    return measure(group, sides, {}, rounds)


def find_chain(folder: Path, rounds: int, epochs: int) -> Path:
    """Goes through the rounds of a chain on digits, unless it is there."""
    print(f"A chain of {rounds} rounds is found in {folder}", flush=True)
    cfg = load_config("lth_cls::cls/digits_resnet18.py")
    cfg.work_dir = str(folder)
    cfg.train_cfg.max_epochs = epochs
    cfg.log_level = "WARNING"
    cfg.imp = {"rounds": rounds, "amount": 0.2, "rewind": "init"}
    LTHRunner.from_cfg(cfg).train()
    return folder


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--chain", nargs="+", type=Path, metavar="DIR", help="chains to measure")
    parser.add_argument("--levels", nargs="+", type=int, help="of the chains; of one's own: all")
    parser.add_argument("--chain-size", type=int, default=32, help="their pictures, in pixels")
    parser.add_argument("--rounds", type=int, help="counted calls of each side (30; small: 10)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("COLUMNS", "200")  # the table's, also in a file
    rounds = args.rounds or (10 if args.small else 30)
    batch, size, arch, levels = (
        (1, 64, "resnet18", [10]) if args.small else (16, 224, "resnet50", [5, 10, 18])
    )
    rows = []
    chains, chosen = args.chain, args.levels
    if chains is None and args.small:
        chains = [find_chain(CHAINS / "digits_small", rounds=3, epochs=1)]
    elif chains is None:
        chains = [find_chain(CHAINS / "digits", rounds=18, epochs=20)]
        chosen = chosen or [5, 10, 14, 16, 18]
    for folder in chains:
        rows += of_chain(folder, chosen, batch, args.chain_size, rounds)
    rows += of_magnitude(arch, levels, batch, size, rounds)
    if device() == "cuda":
        rows += two_of_four(16 * batch, size, rounds)
    rows += csr(512 if args.small else 2048, 256, rounds)
    report("inference", rows, args.output)


if __name__ == "__main__":
    main()
