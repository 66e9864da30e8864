"""Kernels of which nothing is left: how many, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure as Canvas

from lth_core.analysis import KernelCount
from lth_core.report.chains import Look, Scope, by_scope, nearest
from lth_core.report.drawing import drawing
from lth_core.report.overview import curve, short
from lth_core.report.section import Figure, Figures, Part, Section

_PAPERS = 79.03
_MOST_STAGES = 6


def kernels(scopes: Sequence[Scope]) -> Iterator[Section]:
    """Curves and maps of zero kernels."""
    parts = by_scope([scope for scope in scopes if _has_kernels(scope)], _parts)
    if parts:
        yield Section(
            "kernels",
            "Zero kernels",
            "A kernel is the part of a convolution between one input and one output channel; it "
            "is a zero kernel if nothing of it is kept. Kernels of a single weight are left out "
            "where the network has larger ones. In the maps kernels stand row by row from input "
            "to output, and bright is zero.",
            parts,
        )


def _has_kernels(scope: Scope) -> bool:
    return any(look.kernels for chain in scope.chains for look in chain.looks)


def _parts(scope: Scope) -> Iterator[Part]:
    first = scope.chains[0].looks[0]
    stages = [name for name, count in first.kernels.items() if _count(count, first.spatial)[1]]
    groups = {"All stages": stages}
    if 1 < len(stages) <= _MOST_STAGES:
        groups |= {stage: [stage] for stage in stages}
    figures = [
        curve(scope, title, partial(_share, stages=group), "zero, %")
        for title, group in groups.items()
    ]
    yield Figures(tuple(figures))
    yield Figures(tuple(_maps(scope)), 420)


def _count(count: KernelCount, spatial: bool) -> tuple[int, int]:
    """Zero kernels and all."""
    return (count.zero_spatial, count.spatial) if spatial else (count.zero, count.kernels)


def _share(look: Look, stages: Sequence[str]) -> float:
    counts = [_count(look.kernels[stage], look.spatial) for stage in stages]
    return 100 * sum(zero for zero, _ in counts) / max(sum(number for _, number in counts), 1)


def _maps(scope: Scope) -> Iterator[Figure]:
    """At the sparsity of the paper's figure, and at the sparsest level if that is another."""
    for place, chain in enumerate(scope.chains):
        chosen = {look.sparsity: look for look in (nearest(chain.looks, _PAPERS), chain.looks[-1])}
        for look in chosen.values():
            yield _map(f"{place + 1} {chain.title}, {look.sparsity:.2f} %", look)


def _map(title: str, look: Look) -> Figure:
    rows = len(look.picture)

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        shown = axes.imshow(100 * look.picture, "magma", aspect="auto", interpolation="none",
                            vmin=0, vmax=100)  # fmt: skip
        bounds = [row for _, row in look.starts] + [rows]
        for row in bounds[1:-1]:
            axes.axhline(row - 0.5, color="#8a94a6", linewidth=0.8)
        bands = [
            (name, start, end)
            for (name, start), end in zip(look.starts, bounds[1:], strict=True)
            if end - start > 0.03 * rows  # room for its name
        ]
        axes.set_yticks(
            [(start + end - 1) / 2 for _, start, end in bands],
            [short(name) for name, _, _ in bands],
            fontsize=8,
        )
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        if look.run > 1:
            canvas.colorbar(shown, ax=axes, label="zero, %")

    counts = [_count(count, look.spatial) for count in look.kernels.values()]
    zero, number = sum(z for z, _ in counts), sum(n for _, n in counts)
    caption = f"{title}: {zero:,} of {number:,} kernels are zero"
    if look.run > 1:
        caption += f"; each pixel stands for {look.run}"
    by_stage = "; ".join(
        f"{name} {_share(look, [name]):.1f} %" for name, count in look.kernels.items()
        if _count(count, look.spatial)[1]
    )  # fmt: skip
    return Figure(caption, drawing(paint, f"Map of zero kernels, {caption}: {by_stage}", 5.2, 2.9))
