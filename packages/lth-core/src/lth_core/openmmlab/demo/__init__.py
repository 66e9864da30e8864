"""``lth demo``: tickets found on embedded data, and three tasks trained from them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from joblib import cpu_count  # type: ignore[import-untyped]
from rich.console import Console

from lth_core.cli.demo import STAGES
from lth_core.errors import RunError
from lth_core.imp.directory import reject_others
from lth_core.openmmlab.demo import report
from lth_core.openmmlab.demo.plan import Settings, build_plan, require_packages
from lth_core.openmmlab.jobs import Store, choose_view, run_jobs

__all__ = ["Settings", "run_demo"]


def run_demo(
    settings: Settings,
    stage: str = "all",
    work_dir: str | Path = "work_dirs/demo",
    jobs: int | None = None,
    command: str = "lth demo",
) -> dict[str, Any]:
    """Runs a stage and what it needs, then prints the table and writes the report.

    Args:
        settings: What to run.
        stage: One of the stages, or ``all``.
        work_dir: Where results go.
        jobs: How many processes; one for each CPU core if None.
        command: How it was called, for the report.

    Returns:
        The files that were written, and the rows of the table, for programs.

    Raises:
        LTHError: If a package is missing, a job fails, or the directory is in use or another's.
    """
    console = Console()
    begun = time.monotonic()
    plan = build_plan(settings)
    store = Store(work_dir, plan.owner)
    reject_others(store.root, None)
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
    with store.held():
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
    return report.facts(summary)
