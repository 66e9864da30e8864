"""``lth demo``: tickets found on embedded data, and three tasks trained from them."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from joblib import cpu_count  # type: ignore[import-untyped]
from rich.console import Console

from lth_core.cli.parser import Parser
from lth_core.errors import RunError
from lth_core.imp import hold
from lth_core.openmmlab.demo import report
from lth_core.openmmlab.demo.plan import STAGES, Settings, build_plan, require_packages
from lth_core.openmmlab.jobs import Store, choose_view, run_jobs
from lth_core.openmmlab.launch import guarded

__all__ = ["main", "run_demo"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``lth demo`` with these arguments; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        prog="lth demo",
        allow_abbrev=False,
        description=(
            "Pre-trains a small ResNet on digits three ways, finds lottery tickets in it, and "
            "trains a classifier, a detector and a segmenter from dense weights, tickets and "
            "random masks. Ends with a table, results.csv and report.html. What is finished is "
            "kept and used again."
        ),
    )
    parser.add_argument(
        "--stage",
        choices=[*STAGES, "all"],
        default="all",
        help="do one part, and what it needs; report: only from what is finished (default: all)",
    )
    parser.add_argument(
        "--work-dir", default="work_dirs/demo", help="where results go (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=_count, help="processes at work at once (default: one for each CPU core)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of weights, data order and random masks (default: 0)"
    )
    args = parser.parse_args(arguments)
    command = shlex.join(["lth", "demo", *arguments])
    settings = Settings(seed=args.seed)
    return guarded(
        lambda: run_demo(settings, args.stage, args.work_dir, args.jobs, command),
        go_on="again",
    )


def run_demo(
    settings: Settings,
    stage: str = "all",
    work_dir: str | Path = "work_dirs/demo",
    jobs: int | None = None,
    command: str = "lth demo",
) -> None:
    """Runs a stage and what it needs, then prints the table and writes the report.

    Args:
        settings: What to run.
        stage: One of the stages, or ``all``.
        work_dir: Where results go.
        jobs: How many processes; one for each CPU core if None.
        command: How it was called, for the report.

    Raises:
        LTHError: If a package is missing, a job fails, or the directory is in use.
    """
    console = Console()
    begun = time.monotonic()
    plan = build_plan(settings)
    store = Store(work_dir, plan.owner)
    if stage == "report":
        wanted = plan.drawable(store.finished(plan))
        if not wanted:
            raise RunError(
                f"nothing in {store.root} is finished and made from the configs as they are now; "
                "run lth demo first"
            )
    else:
        wanted = plan.wanted(STAGES if stage == "all" else [stage])
        require_packages(stage, plan, wanted)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"{store.root} cannot be made: {problem.strerror}") from None
    with hold(store.root):
        workers = jobs or cpu_count()
        results, reused = run_jobs(plan, store, wanted, workers, choose_view(console))
        summary = report.Summary(
            plan=plan,
            store=store,
            results=results,
            command=command,
            workers=workers,
            seconds=time.monotonic() - begun,
            reused=reused,
            total=len(wanted),
        )
        report.write(summary)
    report.show(summary, console)


def _count(text: str) -> int:
    value = _seed(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
