"""Runs every benchmark, one after the other, and makes the page of what they have found.

    python benchmarks/all.py [--small] [--output docs/benchmarks] [--only NAME ...]

``make bench`` and ``make bench-small`` call this: each benchmark with its defaults, which are those
of the page, on all cores that there are. One that fails is said at the end; the others run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from joblib import cpu_count  # type: ignore[import-untyped]
from tables import PAGE, page_of

HERE = Path(__file__).parent

BENCHMARKS = (
    "step_overhead",
    "cifar_round",
    "step_limits",
    "ssl_views",
    "prune_time",
    "startup",
    "chain_time",
    "early_finish",
    "inference",
    "adversarial",
)
"""Each benchmark, in the order of the page."""

APART = ("mmcv_ops",)
"""Has a page of its own, and takes a compiled mmcv."""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds to a minute each, on a CPU")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "benchmarks")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    args = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": str(cpu_count())}
    failed = []
    for name in args.only:
        words = [*(["--small"] if args.small else []), "--output"]
        output = args.output.absolute() / f"{name}.json"
        print(f"== {name}", flush=True)
        command = [sys.executable, HERE / f"{name}.py", *words, output]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
    (args.output / PAGE).write_text(page_of(args.output, BENCHMARKS))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
