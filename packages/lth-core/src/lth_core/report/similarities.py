"""How alike the masks of different runs are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from lth_core.analysis import Similarity
from lth_core.report.chains import Pair, Scope, by_scope, spread
from lth_core.report.drawing import SERIES, drawing
from lth_core.report.section import Figure, Figures, Fold, Part, Section, Swatches, Table, Text

_MATRICES = 3
_MEASURES: tuple[tuple[str, Callable[[Similarity], float]], ...] = (
    ("Intersection over union", lambda s: s.iou),
    ("Overlap coefficient", lambda s: s.overlap),
    ("Hamming distance", lambda s: s.hamming),
)


def similarities(scopes: Sequence[Scope]) -> Iterator[Section]:
    """Curves over sparsity with what chance gives, and matrices at some levels."""
    parts = by_scope([scope for scope in scopes if scope.pairs], _parts)
    if parts:
        yield Section(
            "similarity",
            "How alike the masks are",
            "Intersection over union of the kept weights is what paper A calls relative "
            "similarity. It falls with density for any two masks, so each line has a dashed one "
            "beside it: what independent masks with the same number of kept weights in each layer "
            "come to. Only what lies above that line is in common; of the Hamming distance, below.",
            parts,
        )


def _parts(scope: Scope) -> Iterator[Part]:
    families = scope.seeds_of_one
    for title, pairs in (
        ("Different chains", {k: p for k, p in scope.pairs.items() if k not in families}),
        ("Seeds of one chain", {k: p for k, p in scope.pairs.items() if k in families}),
    ):
        if pairs:
            yield Text(f"{title}{_many(pairs)}.")
            if len(pairs) <= len(SERIES):
                chains = scope.chains
                yield Swatches(
                    tuple(f"{chains[i].title} and {chains[j].title}" for i, j in pairs), False
                )
            yield Figures(tuple(_curve(pairs, *measure) for measure in _MEASURES))
    sparsities = sorted({pair.sparsity for pairs in scope.pairs.values() for pair in pairs})
    yield Figures(tuple(_matrix(scope, s) for s in spread(sparsities, _MATRICES + 1)[-_MATRICES:]))
    yield Fold("All pairs in numbers", (_table(scope),))


def _many(pairs: dict[tuple[int, int], list[Pair]]) -> str:
    if len(pairs) > len(SERIES):
        return f": {len(pairs)} pairs, more than there are colours; the table below names them"
    return ", dashed what chance gives"


def _curve(
    pairs: dict[tuple[int, int], list[Pair]], title: str, of: Callable[[Similarity], float]
) -> Figure:
    colours = dict(zip(pairs, itertools.cycle(SERIES), strict=False))

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for key, own in pairs.items():
            sparsities = [pair.sparsity for pair in own]
            axes.plot(sparsities, [of(pair.chance) for pair in own], "--", color=colours[key],
                      linewidth=1.1)  # fmt: skip
            axes.plot(sparsities, [of(pair.found) for pair in own], "o-", color=colours[key],
                      markersize=3.5)  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("sparsity, %")

    told = "; ".join(
        f"{i + 1} and {j + 1} {of(own[-1].found):.3f} at {own[-1].sparsity:.2f} %, by chance "
        f"{of(own[-1].chance):.3f}"
        for (i, j), own in pairs.items()
    )
    return Figure(title, drawing(paint, f"{title} over sparsity: {told}"))


def _matrix(scope: Scope, sparsity: float) -> Figure:
    number = len(scope.chains)
    values, chances = np.full((number, number), np.nan), np.full((number, number), np.nan)
    for (i, j), pairs in scope.pairs.items():
        pair = min(pairs, key=lambda each: abs(each.sparsity - sparsity))
        if abs(pair.sparsity - sparsity) < 1:
            values[i, j] = values[j, i] = pair.found.iou
            chances[i, j] = chances[j, i] = pair.chance.iou

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        axes.imshow(values, "viridis", interpolation="none", vmin=0, vmax=1)
        small = number > 4
        for i, j in itertools.product(range(number), repeat=2):
            if np.isnan(values[i, j]):
                continue
            text = f"{values[i, j]:.2f}" if small else f"{values[i, j]:.2f}\n({chances[i, j]:.2f})"
            colour = "#101010" if values[i, j] > 0.6 else "#fafafa"
            axes.text(j, i, text, ha="center", va="center", color=colour,
                      fontsize=7 if small else 9)  # fmt: skip
        axes.set_xticks(range(number), [str(k + 1) for k in range(number)])
        axes.set_yticks(range(number), [str(k + 1) for k in range(number)])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    told = "; ".join(
        f"{i + 1} and {j + 1} {values[i, j]:.3f}, by chance {chances[i, j]:.3f}"
        for i, j in scope.pairs
        if not np.isnan(values[i, j])
    )
    title = f"Intersection over union at {sparsity:.2f} %" + (" (by chance)" * (number <= 4))
    return Figure(title, drawing(paint, f"{title}: {told}", 3.2, 2.8))


def _table(scope: Scope) -> Table:
    rows = [
        (
            f"{scope.chains[i].title} and {scope.chains[j].title}",
            f"{pair.sparsity:.2f}",
            *(f"{of(each):.4f}" for _, of in _MEASURES for each in (pair.found, pair.chance)),
            "the seed" if (i, j) in scope.seeds_of_one else "",
        )
        for (i, j), pairs in scope.pairs.items()
        for pair in pairs
    ]
    measures = [name for title, _ in _MEASURES for name in (title.lower(), "by chance")]
    columns = ("pair", "sparsity, %", *measures)
    return Table(
        "Similarity of masks",
        (*columns, "differ only in"),
        tuple(rows),
        frozenset(range(1, len(columns))),
        "similarity.csv",
    )
