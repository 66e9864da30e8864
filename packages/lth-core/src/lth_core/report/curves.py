"""Every metric over sparsity: a figure for each task, metric and starting weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby

from lth_core.report.drawing import drawing
from lth_core.report.groups import Kind, Start, all_kinds, finite, measures, starts
from lth_core.report.material import Material, Reference
from lth_core.report.panels import CROWD, Look, Scale, look, paint_panel, sample
from lth_core.report.section import Figure, Figures, Group, Key, Legend, Part, Section
from lth_core.results import Result
from lth_core.statistics import spread


def curves(material: Material) -> Iterator[Section]:
    """Means over sparsity, with bands of one standard deviation, beside dense."""
    kinds = all_kinds(material)
    looks = {kind: look(place) for place, kind in enumerate(kinds)}
    labels = dict.fromkeys(each.label for each in material.references)
    published = {label: look(len(kinds) + place, ":") for place, label in enumerate(labels)}
    parts: list[Part] = []
    if looks or published:
        named = [(str(kind), each) for kind, each in looks.items()] + list(published.items())
        parts.append(Legend(tuple(Key(each.name, name, sample(each)) for name, each in named)))
    for (task, metric), results in measures(material.results).items():
        parts.append(_measure(task, metric, results, looks, material.references, published))
    by_task = groupby(material.references, key=lambda each: (each.task, each.metric))
    for (task, metric), references in by_task:
        parts.append(_published(task, metric, list(references), published))
    if parts:
        yield Section(
            "curves",
            "Over sparsity",
            "Lines join the means of a level's seeds, bands are one standard deviation wide on "
            "either side, and small points are single seeds. Dashes and the grey band are dense "
            "runs from the same weights. A cross at the bottom is a training without a number. "
            "Dotted lines are published, not measured here. The axis is that of what is left: "
            "each halving takes the same room.",
            tuple(parts),
        )


def _measure(
    task: str,
    metric: str,
    results: list[Result],
    looks: Mapping[Kind, Look],
    published: tuple[Reference, ...],
    published_looks: Mapping[str, Look],
) -> Group:
    panels = starts(results)
    largest = max((abs(value) for value in finite(results)), default=0.0)
    beside = {
        weights: {
            each.scaled(largest): published_looks[each.label]
            for each in published
            if each.belongs_to(task, metric, weights)
        }
        for weights in panels
    }
    references = [each for found in beside.values() for each in found]
    scale = Scale.of(panels.values(), references, results[0].sign)
    lines = (len(start.kinds) + len(beside[weights]) for weights, start in panels.items())
    wide = max(lines) > CROWD
    figures = tuple(
        Figure(
            f"from {weights}",
            drawing(
                partial(paint_panel, scale, start, looks, beside[weights]),
                f"{metric} of {task} over sparsity, from {weights}. {_words(start)}",
                *((5.6, 3.9) if wide else (3.7, 2.7)),
            ),
        )
        for weights, start in panels.items()
    )
    better = "higher" if results[0].sign > 0 else "lower"
    title = f"{task}: {metric} ({better} is better)"
    return Group(title, (Figures(figures, 460 if wide else 320),))


def _published(
    task: str, metric: str, references: list[Reference], looks: Mapping[str, Look]
) -> Group:
    """Published curves by themselves: they are worth seeing where none is measured too."""
    nothing = Start((), {})
    scale = Scale.of((), references)
    figures = []
    for weights in dict.fromkeys(each.weights for each in references):
        mine = {each: looks[each.label] for each in references if each.weights == weights}
        ends = "; ".join(
            f"{each.label}: {each.points[-1][1]:g} at {100 * each.points[-1][0]:.4g} %"
            for each in mine
        )
        paint = partial(paint_panel, scale, nothing, {}, mine)
        text = f"Published {metric} of {task} over sparsity, from {weights}. {ends}."
        figures.append(Figure(f"from {weights}", drawing(paint, text)))
    sources = ", ".join(dict.fromkeys(each.source for each in references))
    return Group(f"{task}: {metric}, as published ({sources})", (Figures(tuple(figures), 320),))


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
        texts.append(f"{text}{f'; {lost} without a number' if lost else ''}.")
    return " ".join(texts)
