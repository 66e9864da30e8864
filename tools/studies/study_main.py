"""The command line of studies."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import cpu_count  # type: ignore[import-untyped]
from lth_core.cli.exits import guarded
from lth_core.cli.parser import Parser
from lth_core.imp.directory import reject_others
from lth_core.openmmlab.jobs import Store, choose_view, clock, run_jobs
from rich.console import Console
from study_plan import StudyPlan
from study_report import FILES, Run


@dataclass(frozen=True)
class Study:
    """A study that can be run.

    Attributes:
        owner: The script, from the repository's root.
        description: What it is about, for ``--help``.
        settings: Makes the settings from keywords.
        build_plan: Makes the jobs from them.
        make_rows: Makes rows from the plan and results.
        write: Writes the report of a run; given the directories of jobs, too.
    """

    owner: str
    description: str | None
    settings: Callable[..., Any]
    build_plan: Callable[[Any], StudyPlan]
    make_rows: Callable[..., list[Any]]
    write: Callable[[Run, Store], None]

    @property
    def name(self) -> str:
        """As in the script's name."""
        return Path(self.owner).stem

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the study as its arguments ask for; returns the exit code."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        parser = Parser(prog=self.owner, description=self.description)
        parser.add_argument(
            "--work-dir",
            default=f"work_dirs/studies/{self.name}",
            help="where results go (%(default)s)",
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
        command = shlex.join(["python", self.owner, *arguments])
        return guarded(
            lambda: self.run(
                self.settings(seeds=tuple(args.seeds)), args.work_dir, args.jobs, command
            ),
            go_on="again",
        )

    def run(self, settings: Any, work_dir: str | Path, jobs: int, command: str) -> None:
        """Does what is not done yet, then writes the tables, the curves and the verdicts.

        Args:
            settings: What to run.
            work_dir: Where results go.
            jobs: How many processes.
            command: How it was called, for the report.

        Raises:
            LTHError: If a job fails, or the directory is in use, another's, or cannot be made.
        """
        console = Console()
        begun = time.monotonic()
        plan = self.build_plan(settings)
        store = Store(work_dir, plan.owner)
        reject_others(store.root, None)
        with store.held():
            wanted = plan.wanted(plan.stages)
            results, reused = run_jobs(plan, store, wanted, jobs, choose_view(console))
            seconds = time.monotonic() - begun
            work = sum(result.seconds for result in results.values())
            run = Run(settings, self.make_rows(plan, results), command, jobs, work)
            self.write(run, store)
        for file in FILES:
            console.print(str(Path(work_dir) / file), highlight=False, soft_wrap=True)
        again = f", {reused} of {len(plan.jobs)} jobs finished before" if reused else ""
        total = (
            f"total {clock(seconds)} on {jobs} processes{again}; all jobs together {clock(work)}"
        )
        console.print(total, highlight=False, soft_wrap=True)
