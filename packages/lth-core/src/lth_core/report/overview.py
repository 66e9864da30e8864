"""What figures on chains of tickets have in common: numbers over sparsity, and stages of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from lth_core.analysis import stage_of
from lth_core.report.chains import Look, Scope
from lth_core.report.drawing import SERIES, drawing
from lth_core.report.section import Figure


def curve(scope: Scope, title: str, values: Callable[[Look], float], label: str) -> Figure:
    """A number over sparsity, a line for each chain.

    Args:
        scope: Of the chains.
        title: The caption.
        values: The number.
        label: What it is, with its unit.
    """

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for place, chain in enumerate(scope.chains):
            sparsities = [look.sparsity for look in chain.looks]
            numbers = [values(look) for look in chain.looks]
            axes.plot(sparsities, numbers, "o-", color=SERIES[place], markersize=3.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("sparsity, %")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)

    return Figure(title, drawing(paint, _told(scope, title, values)))


def _told(scope: Scope, title: str, values: Callable[[Look], float]) -> str:
    """A curve in words: where each line ends."""
    ends = "; ".join(
        f"{chain.title} {values(chain.looks[-1]):.4g} at {chain.looks[-1].sparsity:.2f} %"
        for chain in scope.chains
    )
    return f"{title} over sparsity: {ends}"


def mark_stages(axes: Axes, names: Sequence[str]) -> None:
    """Ticks where stages begin, and lines between them, for layers 0, 1, ... along x."""
    stages = [stage_of(name) for name in names]
    starts = [k for k in range(len(stages)) if k == 0 or stages[k] != stages[k - 1]]
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="#e6e9ef", linewidth=1)
    ends = [*starts[1:], len(stages)]
    centres = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    crowded = len(starts) > 8
    axes.set_xticks(
        centres,
        [short(stages[start]) for start in starts],
        rotation=60 if crowded else 0,
        ha="right" if crowded else "center",
        fontsize=8 if len(starts) > 4 else 9,
    )
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(names) - 0.4)


def short(name: str) -> str:
    """A name that may stand in a drawing."""
    return name if name.isascii() and name.isprintable() and len(name) <= 14 else f"{name[:6]!a}..."


def percent(pair: tuple[int, int]) -> float:
    """Kept of what is in scope, in per cent."""
    return 100 * pair[0] / pair[1] if pair[1] else 100.0
