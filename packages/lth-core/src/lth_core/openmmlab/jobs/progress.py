"""What is shown while jobs run: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from lth_core.openmmlab.jobs.job import Job
    from lth_core.openmmlab.jobs.run import State
    from lth_core.openmmlab.jobs.store import Result


class View(Protocol):
    """Shows what goes on."""

    @contextmanager
    def showing(self, state: State) -> Iterator[None]:
        """Shows ``state`` while the block runs."""
        yield

    def update(self) -> None:
        """The state has changed, or some time has passed."""

    def finished(self, job: Job, result: Result) -> None:
        """A job has come to its end."""


def choose_view(console: Console) -> View:
    """The view that suits where ``console`` writes to."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """One line per finished job: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def showing(self, state: State) -> Iterator[None]:
        """Says what will be done, and shows the rest as it happens."""
        self.state = state
        pending = len(state.pending)
        if pending:
            line = f"{pending} jobs on {state.workers} {_plural('process', state.workers)}"
            line += f", {state.reused} finished before" if state.reused else ""
            self._print(f"{line}; about {clock(state.left())}")
        yield

    def update(self) -> None:
        """Nothing: a job's progress is worth no line."""

    def finished(self, job: Job, result: Result) -> None:
        """Prints the job's line."""
        state = self.state
        count = f"[{len(state.results)}/{len(state.wanted)}]"
        times = f"{clock(state.elapsed)} elapsed, about {clock(state.left())} left"
        self._print(f"{count} {job.title}: {job.text(result)}; {times}")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class LiveView:
    """Bars for the whole and for each running job, under the lines of finished ones."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def showing(self, state: State) -> Iterator[None]:
        """Draws the state until the block is left."""
        self.state = state
        if not state.pending:
            yield
            return
        # The main loop draws, several times a second: no thread of rich's own is needed.
        with Live(
            self._draw(), console=self.console, auto_refresh=False, transient=True
        ) as self.live:
            yield

    def update(self) -> None:
        """Draws again."""
        self.live.update(self._draw(), refresh=True)

    def finished(self, job: Job, result: Result) -> None:
        """Leaves the job's line above the bars."""
        line = Text.assemble(
            ("✓ ", "green"), f"{job.title:<44}", (job.text(result), "bold"),
            (f"  {result.seconds:.0f} s", "dim"),
        )  # fmt: skip
        self.live.console.print(line)

    def _draw(self) -> RenderableType:
        state = self.state
        total, done = len(state.wanted), len(state.results)
        elapsed, left = state.elapsed, state.left()
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(state.plan.owner, "bold"),
            ProgressBar(total=elapsed + left or 1, completed=elapsed, width=30),
            f"{done}/{total} jobs",
            f"{clock(elapsed)} elapsed",
            Text(f"about {clock(left)} left", "cyan"),
        )
        rows = Table.grid(padding=(0, 2))
        for running in state.running:
            job = running.job
            bar = ProgressBar(total=1.0, completed=running.done or 0.0, width=20)
            note = "waits for a machine" if running.done is None else job.note(running.done)
            rows.add_row(Text("•", "cyan"), job.title, bar, Text(note, "dim"))
        return Group(Text(""), head, self._stages(), rows)

    def _stages(self) -> Text:
        state = self.state
        line = Text()
        for stage in state.plan.stages:
            names = [n for n in state.wanted if state.plan.jobs[n].stage == stage]
            done = sum(n in state.results for n in names)
            if names:
                at_work = any(r.job.stage == stage for r in state.running)
                style = "green" if done == len(names) else "bold cyan" if at_work else "dim"
                line.append(f"{stage} {done}/{len(names)}   ", style)
        return line


def clock(seconds: float) -> str:
    """Minutes and seconds: ``4:05``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "es"
