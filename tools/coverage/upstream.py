"""Does every config that mmdet, mmsegmentation and mmpretrain ship work with a ticket?

Builds each one's model, finds the scope, makes a fresh ticket of it at 80 %, applies it as a
training does and compares every weight. Writes coverage.md and coverage.csv. What was looked at
is kept: run it again to go on.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from joblib import cpu_count  # type: ignore[import-untyped]
from lth_core.cli.exits import guarded
from lth_core.cli.parser import Parser
from lth_core.errors import ConfigError
from lth_core.imp import hold
from lth_core.openmmlab.jobs import clock
from rich.console import Console
from rich.progress import Progress
from upstream_pool import Limits, probe_all
from upstream_probe import LIBRARIES, Order, Row, configs_of, version
from upstream_reasons import OURS, PIECE, WORKS
from upstream_report import write

OWNER = "tools/coverage/upstream.py"
ROWS = "rows.jsonl"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(prog=OWNER, description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="CONFIG",
        help="which configs: a library (mmdet), a part (mmdet::faster_rcnn) or a pattern",
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="N of them, spread over the libraries' folders"
    )
    parser.add_argument(
        "--work-dir", default="work_dirs/coverage", help="where rows are kept (%(default)s)"
    )
    parser.add_argument("--out", help="folder of the report (default: the work directory)")
    parser.add_argument(
        "--jobs", type=int, default=cpu_count(), help="processes at work at once (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=300, help="seconds for one config (%(default)s)"
    )
    parser.add_argument("--memory", type=float, default=14, help="GiB for one config (%(default)s)")
    parser.add_argument(
        "--again", action="store_true", help="look again at what did not work before"
    )
    args = parser.parse_args(arguments)
    if args.jobs < 1 or (args.sample is not None and args.sample < 1):
        parser.error("--jobs and --sample are whole numbers from 1 on")
    if args.timeout <= 0 or args.memory <= 0:
        parser.error("--timeout and --memory are larger than 0")
    return guarded(
        lambda: run(
            choose(args.only, args.sample),
            Path(args.work_dir),
            Path(args.out or args.work_dir),
            args.jobs,
            Limits(args.timeout, args.memory),
            args.again,
            shlex.join(["python", OWNER, *arguments]),
        ),
        go_on="again",
    )


def choose(only: Sequence[str], sample: int | None = None) -> list[Order]:
    """The configs to look at, by library and path.

    Args:
        only: Libraries, beginnings or patterns of ``library::path``; all configs if empty.
        sample: How many of these, evenly spread; None for all.

    Raises:
        ConfigError: If nothing is left, or a name stands for nothing.
    """
    orders = [Order(name, path) for name in LIBRARIES for path in configs_of(name)[0]]
    for name in only:
        if not any(_means(name, order) for order in orders):
            raise ConfigError(f"--only {name} stands for no config of {', '.join(LIBRARIES)}")
    if only:
        orders = [order for order in orders if any(_means(name, order) for name in only)]
    if sample is not None and sample < len(orders):
        orders = [orders[place * len(orders) // sample] for place in range(sample)]
    if not orders:
        raise ConfigError(f"none of {', '.join(LIBRARIES.values())} is installed")
    return orders


def _means(name: str, order: Order) -> bool:
    config = order.config
    return (
        config == name or config.startswith((f"{name}::", f"{name}/")) or fnmatchcase(config, name)
    )


def run(
    orders: Sequence[Order],
    work_dir: Path,
    out: Path,
    jobs: int,
    limits: Limits,
    again: bool = False,
    command: str = OWNER,
) -> None:
    """Looks at what has no row yet, then writes the report on all of ``orders``.

    Args:
        orders: The configs.
        work_dir: Where rows are kept.
        out: Where the report goes.
        jobs: How many processes.
        limits: What one config may take.
        again: Whether to look again at what did not work before.
        command: How it was called, for the report.

    Raises:
        LTHError: If another process is at work in the directory.
    """
    console = Console()
    work_dir.mkdir(parents=True, exist_ok=True)
    with hold(work_dir):
        rows = _read(work_dir / ROWS)
        todo = [order for order in orders if _is_open(rows.get(order.config), order, again)]
        begun = time.monotonic()
        with (work_dir / ROWS).open("a") as file, Progress(console=console) as progress:
            task = progress.add_task("configs", total=len(todo))
            seen = {row.made_of: row for row in rows.values() if row.made_of and not row.as_in}
            for row in probe_all(todo, jobs, limits, seen):
                rows[row.config] = row
                file.write(json.dumps(asdict(row)) + "\n")
                file.flush()
                progress.advance(task)
                if row.status == OURS:
                    progress.console.print(f"{row.config}: {row.reason}", highlight=False)
        seconds = time.monotonic() - begun
    found = [rows[order.config] for order in orders]
    for path in write(found, out, command):
        console.print(str(path), highlight=False, soft_wrap=True)
    works = sum(row.status == WORKS for row in found)
    whole = sum(row.status != PIECE for row in found)
    console.print(
        f"{works} of {whole} whole configs work; {len(todo)} looked at in {clock(seconds)}",
        highlight=False,
    )


def _read(path: Path) -> dict[str, Row]:
    """The rows of earlier runs by config, the latest of each; a line cut short is passed over."""
    rows: dict[str, Row] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError):
                continue
            rows[row.config] = row
    return rows


def _is_open(row: Row | None, order: Order, again: bool) -> bool:
    if row is None or row.version != version(order.library):
        return True
    return again and row.status not in (WORKS, PIECE)


if __name__ == "__main__":
    sys.exit(main())
