"""What ``lth study`` does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lth_core import results
from lth_core.cli.match import facts, show
from lth_core.errors import LTHError, RunError
from lth_core.files import write_atomic
from lth_core.imp.directory import STUDY, STUDY_DENSE, STUDY_TICKETS, differences, reject_others
from lth_core.matching import Match, match
from lth_core.openmmlab.jobs import Store, choose_view, clock, default_workers, run_jobs
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.study.check import Source, check, choose_source, partial_of
from lth_core.openmmlab.study.entries import Entry, find_tickets
from lth_core.openmmlab.study.plan import OWNER, Settings, StudyPlan, build_plan, starts
from lth_core.ticket import Ticket

if TYPE_CHECKING:
    from lth_core.openmmlab.jobs.cluster import Submission


def run_study(
    settings: Settings,
    work_dir: str | Path,
    jobs: int | None = None,
    dry_run: bool = False,
    submission: Submission | None = None,
) -> dict[str, Any]:
    """Trains what is not trained yet, and says which tickets match dense.

    Args:
        settings: What to compare.
        work_dir: Where results go; the same again goes on with a study.
        jobs: How many trainings at once; if None, one for each GPU, else for each CPU core, or all
            of them with ``submission``.
        dry_run: Whether to check everything, show what would be trained, and stop.
        submission: Which scheduler gets the trainings; None for processes of this machine.

    Returns:
        ``work_dir``, ``start`` (what all start from), ``jobs`` (by name: ``finished``, ``start``),
        and after the trainings ``results`` and ``matches``, see :func:`lth_core.matching.match`.

    Raises:
        LTHError: If anything does not fit, which is said before the first training, if the
            directory is in use or holds another study, or if a training fails.
    """
    console = Console()
    cfg = load_config(settings.config, dict(settings.options))
    entries = find_tickets(settings.tickets, settings.levels)
    source = choose_source(cfg, settings.weights, entries, settings.parsed)
    dense = check(cfg, source, entries, settings.parsed)
    store = Store(work_dir, OWNER)
    file = store.root / STUDY_DENSE
    found = starts(entries, settings.parsed, source, str(file), partial_of(cfg))
    plan = build_plan(settings, found, source)
    _open(store, settings, source, write=False)
    if dry_run:
        finished = store.finished(plan) if file.exists() else {}
        _show_plan(plan, source, finished, console)
        return _facts(plan, store, source, finished)
    begun = time.monotonic()
    with store.held():
        _open(store, settings, source, write=True)
        _write_dense(file, dense)
        _keep(entries, store)
        _print(console, f"{len(plan.jobs)} trainings; all start from {source.text}")
        view = choose_view(console)
        workers = jobs or (default_workers() if submission is None else len(plan.jobs))
        pool = None if submission is None else submission.pool(store, workers)
        done, reused = run_jobs(plan, store, list(plan.order), workers, view, pool)
    rows = results.read([store.directory(name) / results.FILE for name in plan.order])
    matches = match(rows)
    _show_end(matches, rows, store, console)
    again = f", {reused} of {len(plan.jobs)} finished before" if reused else ""
    _print(console, f"total {clock(time.monotonic() - begun)}{again}")
    return {
        **_facts(plan, store, source, done),
        "results": rows,
        **facts(matches),
    }


def _open(store: Store, settings: Settings, source: Source, write: bool) -> None:
    """Trainings of another config or other weights must not come among these."""
    about = {
        "config": settings.config,
        "digest": store.config_digest_of(settings.config),
        "options": {key: str(value) for key, value in sorted(settings.options.items())},
        "weights": source.text if source.file is None else store.file_digest(source.file),
    }
    reject_others(store.root, STUDY)
    path = store.root / STUDY
    if path.exists():
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):
            raise RunError(f"{path} is damaged; move {store.root} away and start again") from None
        changes = list(differences(before, about))
        if changes:
            raise RunError(
                f"{store.root} holds a study with other settings: {'; '.join(changes[:3])}; use "
                "another --work-dir, or the old settings"
            )
    elif write:
        write_atomic(path, json.dumps(about, indent=2) + "\n")


def _write_dense(path: Path, masks: Any) -> None:
    ticket = Ticket(masks, None, {"level": 0})
    try:
        if Ticket.load(path).masks.digest() == ticket.masks.digest():
            return
    except LTHError:  # not there, or of tickets of another scope
        pass
    ticket.save(path)


def _keep(entries: Sequence[Entry], store: Store) -> None:
    """Copies of the tickets: results can be told where their masks come from wherever they go."""
    for entry in entries:
        place = store.root / STUDY_TICKETS / f"{entry.name}.safetensors"
        content = entry.path.read_bytes()
        if not place.exists() or place.read_bytes() != content:
            place.parent.mkdir(exist_ok=True)
            write_atomic(place, content)


def _show_plan(
    plan: StudyPlan, source: Source, finished: Mapping[str, Any], console: Console
) -> None:
    table = Table(title=f"{len(plan.jobs)} trainings; all start from {source.text}")
    for column in ("start", "sparsity %", *plan.stages):
        table.add_column(column.replace("_", " "), justify="left" if column == "start" else "right")
    rows: dict[str, list[Text]] = {}
    for name in plan.jobs:
        start = plan.starts[name]
        sparsity = "" if start.sparsity is None else f"{100 * start.sparsity:.2f}"
        row = rows.setdefault(start.name, [Text(start.title), Text(sparsity)])
        row.append(Text("finished" if name in finished else "to do"))
    for row in rows.values():
        table.add_row(*row)
    console.print(table)


def _show_end(
    matches: Sequence[Match], rows: Sequence[results.Result], store: Store, console: Console
) -> None:
    if matches and any(row.dense for row in rows):
        show(matches, levels=True)
    else:
        _show_rows(rows, console)
    place = _relative(store.root)
    _print(console, f"lth match {place}     these tables again")
    _print(console, f"lth report {place}    a page to look at")


def _show_rows(rows: Sequence[results.Result], console: Console) -> None:
    """What was measured, where there is no dense to compare it with."""
    table = Table(title="results")
    for column in ("start", "level", "sparsity %", "seed", "metric", "value"):
        table.add_column(column, justify="left" if column == "start" else "right")
    for row in rows:
        cells = (" ".join(filter(None, (row.mask, row.variant, "from", row.weights))), row.level,
                 f"{100 * row.sparsity:.2f}", row.seed, row.metric, f"{row.value:.4g}")  # fmt: skip
        table.add_row(*(Text(str(cell)) for cell in cells))
    console.print(table)


def _facts(
    plan: StudyPlan, store: Store, source: Source, finished: Mapping[str, Any]
) -> dict[str, Any]:
    jobs = {
        name: {"start": plan.starts[name].title, "finished": name in finished}
        for name in plan.order
    }
    return {"work_dir": str(store.root), "start": source.text, "jobs": jobs}


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
