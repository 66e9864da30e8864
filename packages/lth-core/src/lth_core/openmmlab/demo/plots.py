"""The report's drawings, as SVG to put into HTML."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lth_core.openmmlab.demo.plan import PRETRAININGS
from lth_core.report.drawing import STYLE

if TYPE_CHECKING:
    from lth_core.openmmlab.demo.report import Row

COLOURS = {"labels": "#0072b2", "simclr": "#d55e00", "mocov2": "#009e73"}
"""Of pre-trainings; told apart by most colour-blind people too."""


def curve(rows: Sequence[Row], label: str, name: str) -> str:
    """A task's metric over sparsity: a line for each pre-training's tickets.

    Args:
        rows: Of one task.
        label: Of the metric.
        name: Distinguishes the drawing from others on the page.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, axes = _canvas(3.7, 3.0)
        for key, colour in COLOURS.items():
            mine = [row for row in rows if row.pretraining == key]
            tickets = sorted((r.sparsity, r.value) for r in mine if r.start != "random")
            randoms = sorted((r.sparsity, r.value) for r in mine if r.start == "random")
            dense = next((r.value for r in mine if r.start == "dense"), None)
            if dense is not None:
                axes.axhline(dense, color=colour, linestyle=(0, (2, 3)), linewidth=1, alpha=0.6)
            if tickets:
                axes.plot(*_percent(tickets), "o-", color=colour, markersize=5)
            if randoms:
                axes.plot(
                    *_percent(randoms),
                    "X:",
                    linewidth=1,
                    color=colour,
                    markersize=8,
                    markeredgecolor="w",
                )
        ticks = sorted({round(100 * row.sparsity, 2) for row in rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlim(-4, 100)
        axes.set_xlabel("sparsity, % of the weights in scope")
        axes.set_ylabel(label)
        return _svg(figure)


def rounds(rows: Sequence[Row], label: str, name: str) -> str:
    """A pre-training task's own metric at each level of its chain.

    Args:
        rows: Of one chain.
        label: Of the metric.
        name: The pre-training.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"rounds {name}"}):
        figure, axes = _canvas(3.7, 2.3)
        points = sorted((row.sparsity, row.value) for row in rows)
        axes.plot(*_percent(points), "o-", color=COLOURS[name], markersize=4)
        axes.set_xlim(-4, 100)
        axes.set_xlabel("sparsity, %")
        axes.set_ylabel(label)
        return _svg(figure)


def layers(sparsities: Mapping[str, Mapping[str, float]], name: str) -> str:
    """Sparsity of each layer, a line for each pre-training.

    Args:
        sparsities: Pruned fractions by pre-training and weight.
        name: Distinguishes the drawing from others on the page.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"layers {name}"}):
        figure, axes = _canvas(9.4, 2.9)
        names = list(next(iter(sparsities.values())))
        for key, found in sparsities.items():
            values = [100 * found[layer] for layer in names]
            axes.plot(values, "o-", color=COLOURS[key], markersize=4, label=PRETRAININGS[key].title)
        short = [
            layer.removesuffix(".weight").removeprefix("layer").replace("downsample.0", "shortcut")
            for layer in names
        ]
        axes.set_xticks(range(len(names)), short, rotation=55, ha="right", fontsize=8)
        axes.set_ylim(0, 103)
        axes.set_ylabel("pruned, %")
        return _svg(figure)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _percent(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [100 * sparsity for sparsity, _ in points], [value for _, value in points]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
