"""lth's operators for mmcv beside a compiled mmcv 2.1.0: what they give, and how fast.

    python benchmarks/mmcv_ops.py [parity] [speed] [--output docs/benchmarks/mmcv-ops]

Needs a compiled mmcv in the environment; docs/benchmarks/mmcv-ops.md says how to get one. Every
operator that lth supplies is run on both, with the same random arguments, forwards and backwards.
Ends with 1 if they differ in a way that is not among the known ones, and with 2 where there is
nothing to compare with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lth_core.openmmlab.compat.mmcv_ext as mmcv_ext
import torch
import torchvision
from _common import machine
from lth_core.errors import ConfigError, LTHError
from rich.console import Console

if TYPE_CHECKING:
    from _mmcv_compare import Row

PARTS = ("parity", "speed")

BUILD = Path("work_dirs/mmcv_cuda_on_cpu")

HOW_TO_BUILD = (
    "in an environment of its own: pip uninstall mmcv-lite, then MMCV_WITH_OPS=1 pip install "
    "--no-build-isolation mmcv==2.1.0 (docs/benchmarks/mmcv-ops.md)"
)


def compiled_extension() -> Any:
    """The compiled ``mmcv._ext``.

    Raises:
        ConfigError: If there is none.
    """
    try:
        missing = mmcv_ext.install()
    except ModuleNotFoundError:
        missing = True
    if missing:
        raise ConfigError(
            f"no compiled mmcv to compare with: mmcv._ext is missing; build one {HOW_TO_BUILD}"
        )
    return importlib.import_module(mmcv_ext.MODULE_NAME)


def devices(compiled: Any) -> list[str]:
    """Where both can run."""
    cuda = torch.cuda.is_available() and compiled.get_compiling_cuda_version() != "not available"
    return ["cpu", "cuda"] if cuda else ["cpu"]


def parity(
    compiled: Any, cases: int, operators: Iterable[str], seed: int, cuda_on_cpu: bool
) -> list[Row]:
    """Compares the results.

    Args:
        compiled: The compiled extension.
        cases: Random cases of each kind.
        operators: Which operators.
        seed: Draws other cases.
        cuda_on_cpu: Whether to build mmcv's CUDA kernels for the CPU, for the operators that have
            no other there.

    Raises:
        ConfigError: If an operator that lth supplies was not run.
    """
    # After the check for a compiled mmcv, since these import mmcv.ops.
    from _mmcv_compare import OPERATORS, Recorder, compare, not_exercised

    ours = Recorder(mmcv_ext.stand_in())
    instead, others = {}, ""
    if cuda_on_cpu:
        import _mmcv_cuda_on_cpu as cuda
        import mmcv.ops

        built = cuda.build(Path(mmcv.ops.__file__).parent / "csrc", BUILD)
        instead, others = cuda.operators(built, mmcv_ext.stand_in()), cuda.NAME
    rows = []
    for device in devices(compiled):
        replaced = instead if device == "cpu" else {}
        reference = Recorder(compiled, replaced, others)
        for row in compare(ours, reference, cases, device, operators, seed):
            print(f"{row.operator}, {row.inputs}, {row.dtype}, {device}: {row.verdict}", flush=True)
            rows.append(row)
    left = not_exercised(mmcv_ext.stand_in(), ours.called)
    if left and set(operators) == set(OPERATORS):
        raise ConfigError(f"no case in benchmarks/_mmcv_cases.py calls: {', '.join(sorted(left))}")
    return rows


def environment(compiled: Any) -> dict[str, Any]:
    """Machine and versions."""
    import mmcv

    return {
        **machine(),
        "torchvision": torchvision.__version__,
        "mmcv": mmcv.__version__,
        "compiler of mmcv": compiled.get_compiler_version(),
        "CUDA of mmcv": compiled.get_compiling_cuda_version(),
        "date": date.today().isoformat(),
        "command": f"python benchmarks/mmcv_ops.py {' '.join(sys.argv[1:])}",
        "load before": os.getloadavg()[0],
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; both without any")
    parser.add_argument("--cases", type=int, default=100, help="random cases of each kind")
    parser.add_argument("--rounds", type=int, default=30, help="timed calls of each operator")
    parser.add_argument("--operators", nargs="+", metavar="NAME", help="these operators only")
    parser.add_argument("--seed", type=int, default=0, help="draws other cases")
    parser.add_argument(
        "--cuda-on-cpu",
        action="store_true",
        help="build mmcv's CUDA kernels for the CPU in work_dirs/mmcv_cuda_on_cpu (a C++ compiler "
        "and ninja are needed), to compare the operators with that have no CPU kernel",
    )
    parser.add_argument("--output", metavar="NAME", help="write NAME.json and NAME.md")
    args = parser.parse_args(argv)
    try:
        return run(args)
    except LTHError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Runs the parts, keeping what an earlier call wrote of the others."""
    if wrong := sorted(set(args.parts) - set(PARTS)):
        raise ConfigError(f"no such part: {', '.join(wrong)}; there are {', '.join(PARTS)}")
    compiled = compiled_extension()
    from _mmcv_compare import OPERATORS
    from _mmcv_report import markdown, unexpected
    from _mmcv_speed import speed

    operators = args.operators or list(OPERATORS)
    if wrong := sorted(set(operators) - set(OPERATORS)):
        raise ConfigError(f"no such operator: {', '.join(wrong)}; there are {', '.join(OPERATORS)}")
    record: dict[str, Any] = {}
    kept = Path(f"{args.output}.json")
    if args.output and kept.is_file():
        record = json.loads(kept.read_text())
    surprises: list[str] = []
    if "parity" in (args.parts or PARTS):
        where = environment(compiled)
        rows = parity(compiled, args.cases, operators, args.seed, args.cuda_on_cpu)
        record["parity"] = {"environment": where, "rows": [row.record() for row in rows]}
        surprises = unexpected(record["parity"]["rows"])
    if "speed" in (args.parts or PARTS):
        where = environment(compiled)
        times = []
        for device in devices(compiled):
            for row in speed(compiled, mmcv_ext.stand_in(), args.rounds, device):
                print({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()})
                times.append(row)
        where["load after"] = os.getloadavg()[0]
        record["speed"] = {"environment": where, "rows": times}
    text = markdown(record)
    if args.output:
        kept.write_text(json.dumps(record, indent=1) + "\n")
        Path(f"{args.output}.md").write_text(text)
    else:
        Console().print(text, markup=False, highlight=False, soft_wrap=True)
    for line in surprises:
        print(f"unexpected: {line}", file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
