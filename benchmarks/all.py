"""Runs every benchmark, one after the other, and makes the page of what they have found.

    python benchmarks/all.py [--small] [--output docs/benchmarks] [--only NAME ...]

``make bench`` and ``make bench-small`` call this. A benchmark that fails is said at the end; the
others run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tables import PAGE, page_of

HERE = Path(__file__).parent

SMALL = ["--small"]
BENCHMARKS: dict[str, list[str]] = {
    "step_overhead": SMALL,
    "cifar_round": SMALL,
    "step_limits": SMALL,
    "ssl_views": SMALL,
    "prune_time": SMALL,
    "startup": SMALL,
    "chain_time": SMALL,
    "early_finish": SMALL,
    "inference": SMALL,
    "adversarial": ["--depth", "18", "--steps", "1", "--batch", "2", "--size", "32",
                    "--rounds", "1"],
}  # fmt: skip
"""Each benchmark, in the order of the page, with what makes it small."""

APART = ("mmcv_ops",)
"""Has a page of its own, and takes a compiled mmcv."""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds to a minute each, on a CPU")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "benchmarks")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    args = parser.parse_args()
    failed = []
    for name in args.only:
        words = [*(BENCHMARKS[name] if args.small else []), "--output"]
        output = args.output.absolute() / f"{name}.json"
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py", *words, output], check=False)
        if done.returncode:
            failed.append(name)
    (args.output / PAGE).write_text(page_of(args.output, list(BENCHMARKS)))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
