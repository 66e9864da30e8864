"""Every metric over sparsity: a figure for each task, metric and starting weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from lth_core.report.drawing import DENSE, SERIES, Drawing, drawing
from lth_core.report.groups import Kind, Start, all_kinds, finite, measures, starts
from lth_core.report.material import Material, Reference
from lth_core.report.section import Figure, Figures, Group, Key, Legend, Part, Section
from lth_core.results import Result
from lth_core.statistics import Spread, spread

_MARKERS = "oDs^vXPp*"  # one more than colours, so that it is long until both are the same
_CROWD = 5
"""Lines of a figure beyond which it is drawn larger."""
_TICKS = 7
_TALL = 100
"""How many times the least value the greatest must be for a logarithmic axis."""
_NEARLY_ALL = 1 - 2**-14
"""Sparsities beyond it are drawn there: the axis of what is left has no end."""


@dataclass(frozen=True)
class _Look:
    """How a kind is drawn."""

    name: str
    colour: str
    marker: str
    line: str


def curves(material: Material) -> Iterator[Section]:
    """Means over sparsity, with bands of one standard deviation, beside dense."""
    if not material.results:
        return
    kinds = all_kinds(material)
    looks = {kind: _look(place) for place, kind in enumerate(kinds)}
    published = {
        each.label: _look(len(kinds) + place, ":") for place, each in enumerate(material.references)
    }
    keys = [Key(look.name, str(kind), _sample(look)) for kind, look in looks.items()]
    keys += [Key(look.name, label, _sample(look)) for label, look in published.items()]
    parts: list[Part] = [Legend(tuple(keys))] if keys else []
    for (task, metric), results in measures(material.results).items():
        better = "higher" if results[0].sign > 0 else "lower"
        references = {
            each: published[each.label]
            for each in material.references
            if each.task in ("", task) and each.metric in ("", metric)
        }
        panels = starts(results)
        scale = _Scale.of(panels.values(), references, results[0].sign)
        most = max(len(start.kinds) for start in panels.values()) + len(references)
        wide = most > _CROWD
        figures = tuple(
            Figure(
                f"from {weights}",
                drawing(
                    partial(_paint, scale, start, looks, references),
                    f"{metric} of {task} over sparsity, from {weights}. {_words(start)}",
                    *((5.6, 3.9) if wide else (3.7, 2.7)),
                ),
            )
            for weights, start in panels.items()
        )
        title = f"{task}: {metric} ({better} is better)"
        parts.append(Group(title, (Figures(figures, 460 if wide else 320),)))
    yield Section(
        "curves",
        "Over sparsity",
        "Lines join the means of a level's seeds, bands are one standard deviation wide on either "
        "side, and small points are single seeds. Dashes and the grey band are dense runs from the "
        "same weights. A cross at the bottom is a training that diverged. The axis is that of "
        "what is left: each halving takes the same room.",
        tuple(parts),
    )


def _look(place: int, line: str = "") -> _Look:
    turn = place // len(SERIES)
    return _Look(
        f"k{place}",
        SERIES[place % len(SERIES)],
        _MARKERS[place % len(_MARKERS)],
        line or ("-", "--", "-.")[turn % 3],
    )


def _sample(look: _Look) -> Drawing:
    def paint(canvas: Canvas) -> None:
        canvas.set_layout_engine("none")
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, 2), ylim=(-1, 1))
        axes.plot([0, 2], [0, 0], look.line, color=look.colour)
        axes.plot([1], [0], look.marker, color=look.colour, markersize=6)

    return drawing(paint, "", 0.472, 0.194)


@dataclass(frozen=True)
class _Scale:
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
    def of(cls, panels: Iterable[Start], references: Iterable[Reference], sign: int) -> _Scale:
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


def _place(sparsity: float) -> float:
    """Where on the axis: halvings of what is left."""
    return -math.log2(1 - min(sparsity, _NEARLY_ALL))


def _paint(
    scale: _Scale,
    start: Start,
    looks: Mapping[Kind, _Look],
    references: Mapping[Reference, _Look],
    canvas: Canvas,
) -> None:
    _Panel(canvas, scale, start).paint(looks, references)


class _Panel:
    """One figure at work."""

    def __init__(self, canvas: Canvas, scale: _Scale, start: Start) -> None:
        self.axes: Axes = canvas.add_subplot()
        self.scale = scale
        self.start = start
        # Bands that lie over one another must not hide what is below.
        self.alpha = 0.15 if len(start.kinds) <= _CROWD else 0.08

    def paint(self, looks: Mapping[Kind, _Look], references: Mapping[Reference, _Look]) -> None:
        self._set_axes()
        self._dense()
        for kind, levels in self.start.kinds.items():
            self._kind(levels, looks[kind])
        for reference, look in references.items():
            points = sorted(reference.points)
            self.axes.plot(
                [_place(x) for x, _ in points], [y for _, y in points], look.line,
                color=look.colour, marker=look.marker, markersize=3, linewidth=1, gid=look.name,
            )  # fmt: skip

    def _set_axes(self) -> None:
        scale, axes = self.scale, self.axes
        reach = max(_place(scale.sparsities[-1]), 0.5)
        ticks = [0.0]
        for sparsity in scale.sparsities:
            if _place(sparsity) - _place(ticks[-1]) >= reach / _TICKS:
                ticks.append(sparsity)
        axes.set_xticks([_place(tick) for tick in ticks], [f"{100 * t:.4g}" for t in ticks])
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

    def _kind(self, levels: Mapping[int, Sequence[Result]], look: _Look) -> None:
        axes, gid = self.axes, look.name
        places, means, deviations = [], [], []
        for runs in levels.values():
            place, values = _place(spread([run.sparsity for run in runs]).mean), finite(runs)
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
            places, means, look.line, marker=look.marker, color=look.colour, markersize=5,
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


def _words(start: Start) -> str:
    """A figure in words; the table of results has the numbers."""
    dense = finite(start.dense)
    texts = [f"Dense: {spread(dense)}." if dense else "No dense run."]
    for kind, levels in start.kinds.items():
        known = [(runs[0].sparsity, finite(runs)) for runs in levels.values() if finite(runs)]
        lost = sum(len(runs) - len(finite(runs)) for runs in levels.values())
        text = f"{kind}: no number"
        if known:
            (first, values), (last, final) = known[0], known[-1]
            text = f"{kind}: {spread(values)} at {100 * first:.4g} % sparsity"
            if len(known) > 1:
                text += f", {spread(final)} at {100 * last:.4g} %, over {len(known)} levels"
        texts.append(f"{text}{f'; {lost} diverged' if lost else ''}.")
    return " ".join(texts)
