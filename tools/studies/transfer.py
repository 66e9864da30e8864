"""Do tickets of pre-training transfer? Paper A's experiments on digits, with seeds and controls.

Pre-trains on digits 0 to 4 three ways, finds tickets there and on the downstream task, trains on
digits 5 to 9 from all of them and from controls, and says for each of the paper's claims whether
it holds here. What is finished is kept: run it again to go on.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from joblib import cpu_count  # type: ignore[import-untyped]
from lth_core.cli.parser import Parser
from lth_core.errors import RunError
from lth_core.imp import hold
from lth_core.openmmlab.jobs import Store, choose_view, clock, run_jobs
from lth_core.openmmlab.launch import guarded
from rich.console import Console
from transfer_plan import OWNER, STAGES, Settings, build_plan
from transfer_report import CURVES, READ_ME, RESULTS, Run, make_rows, write


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(prog=OWNER, allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--work-dir", default="work_dirs/studies/transfer", help="where results go (%(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, default=cpu_count(), help="processes at work at once (%(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="which (default: 0 1 2)"
    )
    args = parser.parse_args(arguments)
    if args.jobs < 1:
        parser.error("--jobs is a whole number from 1 on")
    if min(args.seeds) < 0:
        parser.error("--seeds are whole numbers from 0 on")
    command = shlex.join(["python", OWNER, *arguments])
    return guarded(
        lambda: run_study(Settings(seeds=tuple(args.seeds)), args.work_dir, args.jobs, command),
        go_on="again",
    )


def run_study(settings: Settings, work_dir: str | Path, jobs: int, command: str = OWNER) -> None:
    """Does what is not done yet, then writes the tables, the curves and the verdicts.

    Args:
        settings: What to run.
        work_dir: Where results go.
        jobs: How many processes.
        command: How it was called, for the report.

    Raises:
        LTHError: If a job fails, or the directory is in use or cannot be made.
    """
    console = Console()
    begun = time.monotonic()
    plan = build_plan(settings)
    store = Store(work_dir, plan.owner)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"{store.root} cannot be made: {problem.strerror}") from None
    with hold(store.root):
        results, reused = run_jobs(plan, store, plan.wanted(STAGES), jobs, choose_view(console))
        seconds = time.monotonic() - begun
        work = sum(result.seconds for result in results.values())
        run = Run(settings, make_rows(plan, results), command, jobs, work)
        write(run, store.root)
    for file in (RESULTS, CURVES, READ_ME):
        console.print(str(Path(work_dir) / file), highlight=False, soft_wrap=True)
    again = f", {reused} of {len(plan.jobs)} jobs finished before" if reused else ""
    total = f"total {clock(seconds)} on {jobs} processes{again}; all jobs together {clock(work)}"
    console.print(total, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
