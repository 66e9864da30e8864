"""One figure of curves: its axes, dense, the lines of kinds, and published lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from lth_core.report.drawing import DENSE, SERIES, Drawing, drawing
from lth_core.report.groups import Kind, Start, finite
from lth_core.report.material import Reference
from lth_core.results import Result
from lth_core.statistics import Spread, spread

_MARKERS = "oDs^vXPp*"  # one more than colours, so that it is long until both are the same
CROWD = 5
"""Lines of a figure beyond which it is drawn larger."""
_THIN = "XPp*"
"""Markers that need to be larger to be as plain as the others."""
_TICKS = 7
_TALL = 100
"""How many times the least value the greatest must be for a logarithmic axis."""
_NEARLY_ALL = 1 - 2**-14
"""Sparsities beyond it are drawn there: the axis of what is left has no end."""


@dataclass(frozen=True)
class Look:
    """How a kind is drawn."""

    name: str
    colour: str
    marker: str
    line: str


def look(place: int, line: str = "") -> Look:
    """How the kind at a place in the legend is drawn.

    Args:
        place: From 0.
        line: Its dashes; by the place if empty.
    """
    turn = place // len(SERIES)
    return Look(
        f"k{place}",
        SERIES[place % len(SERIES)],
        _MARKERS[place % len(_MARKERS)],
        line or ("-", "--", "-.")[turn % 3],
    )


def sample(look: Look) -> Drawing:
    """A piece of a kind's line, for the legend."""

    def paint(canvas: Canvas) -> None:
        canvas.set_layout_engine("none")
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, 2), ylim=(-1, 1))
        axes.plot([0, 2], [0, 0], look.line, color=look.colour)
        axes.plot([1], [0], look.marker, color=look.colour, markersize=6)

    return drawing(paint, "", 0.472, 0.194)


@dataclass(frozen=True)
class Scale:
    """Axes that all figures of a measure share.

    Attributes:
        sparsities: All there are.
        low: The least value to show.
        high: The greatest.
        log: Whether values are set out by their logarithms.
    """

    sparsities: tuple[float, ...]
    low: float
    high: float
    log: bool

    @classmethod
    def of(
        cls, panels: Iterable[Start], references: Iterable[Reference] = (), sign: int = 1
    ) -> Scale:
        """Room for all that is drawn.

        Args:
            panels: Of all figures.
            references: The published curves in any of them.
            sign: 1 if higher values are better, -1 if lower ones are.
        """
        sparsities, values = {0.0}, []
        for start in panels:
            groups = [start.dense, *(g for levels in start.kinds.values() for g in levels.values())]
            for group in groups:
                sparsities |= {result.sparsity for result in group}
                found = finite(group)
                values += found
                if len(found) > 1:
                    each = spread(found)
                    values += [each.mean - each.deviation, each.mean + each.deviation]
        for reference in references:
            sparsities |= {sparsity for sparsity, _ in reference.points}
            values += [value for _, value in reference.points]
        low, high = min(values, default=0.0), max(values, default=1.0)
        log = sign < 0 and low > 0 and high > _TALL * low  # losses, on their way up
        if log:
            return cls(tuple(sorted(sparsities)), low / 1.2, high * 1.2, True)
        pad = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
        return cls(tuple(sorted(sparsities)), low - pad, high + pad, False)


def place_of(sparsity: float) -> float:
    """Where on the axis: halvings of what is left."""
    return -math.log2(1 - min(sparsity, _NEARLY_ALL))


def paint_panel(
    scale: Scale,
    start: Start,
    looks: Mapping[Kind, Look],
    references: Mapping[Reference, Look],
    canvas: Canvas,
) -> None:
    """Draws a figure.

    Args:
        scale: Of its axes.
        start: What is in it.
        looks: Of all kinds.
        references: The published curves in it, and how they are drawn.
        canvas: The figure.
    """
    _Panel(canvas, scale, start).paint(looks, references)


class _Panel:
    """One figure at work."""

    def __init__(self, canvas: Canvas, scale: Scale, start: Start) -> None:
        self.axes: Axes = canvas.add_subplot()
        self.scale = scale
        self.start = start
        # Bands that lie over one another must not hide what is below.
        self.alpha = 0.15 if len(start.kinds) <= CROWD else 0.08

    def paint(self, looks: Mapping[Kind, Look], references: Mapping[Reference, Look]) -> None:
        self._set_axes()
        self._dense()
        for kind, levels in self.start.kinds.items():
            self._kind(levels, looks[kind])
        for reference, look in references.items():
            points = sorted(reference.points)
            self.axes.plot(
                [place_of(x) for x, _ in points], [y for _, y in points], look.line,
                color=look.colour, marker=look.marker, markersize=3, linewidth=1, gid=look.name,
            )  # fmt: skip

    def _set_axes(self) -> None:
        scale, axes = self.scale, self.axes
        reach = max(place_of(scale.sparsities[-1]), 0.5)
        ticks = [0.0]
        for sparsity in scale.sparsities:
            if place_of(sparsity) - place_of(ticks[-1]) >= reach / _TICKS:
                ticks.append(sparsity)
        axes.set_xticks([place_of(tick) for tick in ticks], [f"{100 * t:.4g}" for t in ticks])
        axes.set_xlim(-0.04 * reach, 1.04 * reach)
        if scale.log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(scale.low, scale.high)
        axes.set_xlabel("sparsity, %")

    def _dense(self) -> None:
        values = finite(self.start.dense)
        if values:
            found = spread(values)
            self.axes.axhline(found.mean, color=DENSE, linewidth=1.2, linestyle=(0, (4, 3)))
            if len(values) > 1:
                low, high = found.mean - found.deviation, found.mean + found.deviation
                self.axes.axhspan(low, high, color=DENSE, alpha=0.14, linewidth=0)
            self.axes.plot([0.0] * len(values), values, "o", color=DENSE, markersize=2.5)
        self._lost(len(self.start.dense) - len(values), 0.0, DENSE, None)

    def _kind(self, levels: Mapping[int, Sequence[Result]], look: Look) -> None:
        axes, gid = self.axes, look.name
        places, means, deviations = [], [], []
        for runs in levels.values():
            place, values = place_of(spread([run.sparsity for run in runs]).mean), finite(runs)
            found = spread(values) if values else Spread(math.nan, math.nan, 0)
            places.append(place)
            means.append(found.mean)
            deviations.append(0.0 if math.isnan(found.deviation) else found.deviation)
            if len(values) > 1:
                axes.plot(
                    [place] * len(values), values, ".", color=look.colour, markersize=3, alpha=0.55,
                    gid=gid,
                )  # fmt: skip
            self._lost(len(runs) - len(values), place, look.colour, gid)
        low = [mean - each for mean, each in zip(means, deviations, strict=True)]
        high = [mean + each for mean, each in zip(means, deviations, strict=True)]
        axes.plot(
            places, means, look.line, marker=look.marker, color=look.colour,
            markersize=7 if look.marker in _THIN else 5,
            linewidth=1.5, markeredgecolor="#ffffff", markeredgewidth=0.6, gid=gid,
        )  # fmt: skip
        if len(places) == 1:  # a band has no width there
            axes.vlines(places, low, high, color=look.colour, linewidth=1.2, gid=gid)
        else:
            axes.fill_between(
                places, low, high, color=look.colour, alpha=self.alpha, linewidth=0, gid=gid
            )

    def _lost(self, count: int, place: float, colour: str, gid: str | None) -> None:
        if count:
            self.axes.plot(
                [place], [0.03], "x", color=colour, markersize=6, gid=gid,
                transform=self.axes.get_xaxis_transform(),
            )  # fmt: skip
