"""Which layers the tickets are sparse in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from lth_core.report.chains import Chain, Look, Scope, by_scope, nearest, spread
from lth_core.report.drawing import DENSE, SERIES, drawing
from lth_core.report.overview import curve, mark_stages, percent
from lth_core.report.section import BAD, Cell, Figure, Figures, Fold, Part, Section, Table

_PROFILES = 3
_COLUMNS = 6
_LONG = 9


def layers(scopes: Sequence[Scope]) -> Iterator[Section]:
    """Profiles, kept weights and dead channels."""
    parts = by_scope(scopes, _parts)
    if parts:
        yield Section(
            "layers",
            "Where the tickets are sparse",
            "Where one ranking over all layers decides what is pruned, layers end up differently "
            "sparse. Layers stand in the network's order, from input to output, as far as their "
            "names tell. A channel is dead if the mask of its own layer leaves nothing of it.",
            parts,
        )


def _parts(scope: Scope) -> Iterator[Part]:
    collapsed = [
        (chain.title, look) for chain in scope.chains for look in chain.looks if look.collapsed
    ]
    if collapsed:
        yield Table(
            "Collapsed layers: nothing is left of them, and nothing passes but by a way around",
            ("ticket", "sparsity, %", "layers"),
            tuple(
                (title, f"{look.sparsity:.2f}", Cell(", ".join(look.collapsed), BAD))
                for title, look in collapsed
            ),
            frozenset((1,)),
        )
    levels = _chosen(scope)
    yield Figures(tuple(_profile(scope, sparsity) for sparsity in levels), 420)
    stages = _stages(scope, levels)
    yield stages if len(stages.rows) <= _LONG else Fold(stages.caption, (stages,))
    yield Figures(
        (
            curve(scope, "Dead output channels", lambda look: _dead(look)[0], "dead, %"),
            curve(scope, "Dead input channels", lambda look: _dead(look)[1], "dead, %"),
        ),
        300,
    )
    maps = [_map(chain, place) for place, chain in enumerate(scope.chains) if len(chain.looks) > 1]
    tables = [_table(chain) for chain in scope.chains]
    if maps:
        yield Fold("Sparsity of each layer at each level", (Figures(tuple(maps), 420),))
    yield Fold("Kept weights of each layer", tuple(tables))


def _chosen(scope: Scope) -> list[float]:
    """Sparsities to show: the sparsest, and some below it."""
    looks = max((chain.looks for chain in scope.chains), key=len)
    return [look.sparsity for look in spread(looks, _PROFILES + 1)[-_PROFILES:]]


def _dead(look: Look) -> tuple[float, float]:
    """Share of dead outputs and inputs of all layers together, in per cent."""
    found = look.dead.values()
    outputs, inputs = sum(each.outputs for each in found), sum(each.inputs for each in found)
    return (
        100 * sum(each.dead_outputs for each in found) / max(outputs, 1),
        100 * sum(each.dead_inputs for each in found) / max(inputs, 1),
    )


def _profile(scope: Scope, sparsity: float) -> Figure:
    shown = [(place, nearest(chain.looks, sparsity)) for place, chain in enumerate(scope.chains)]
    near = [(p, look) for p, look in shown if abs(look.sparsity - sparsity) < 2]
    names = list(near[0][1].layers)

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        style = "o-" if len(names) < 30 else "-"
        for place, look in near:
            pruned = [100 - percent(each) for each in look.layers.values()]
            axes.plot(pruned, style, color=SERIES[place], markersize=3.5, linewidth=1.4)
        axes.axhline(sparsity, color=DENSE, linewidth=0.9, linestyle=(0, (2, 3)))
        axes.set_ylim(0, 103)
        axes.set_ylabel("pruned, %")
        mark_stages(axes, names)

    told = "; ".join(
        f"{scope.chains[place].title} from "
        f"{min(100 - percent(each) for each in look.layers.values()):.1f} % to "
        f"{max(100 - percent(each) for each in look.layers.values()):.1f} %"
        for place, look in near
    )
    title = f"{sparsity:.2f} % overall"
    return Figure(title, drawing(paint, f"Sparsity of layers, {title}: {told}", 5.2, 2.5))


def _map(chain: Chain, place: int) -> Figure:
    values = np.array(
        [[100 - percent(each) for each in look.layers.values()] for look in chain.looks]
    )

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        shown = axes.imshow(values, aspect="auto", interpolation="none", vmin=0, vmax=100)
        axes.set_yticks(
            range(len(chain.looks)), [f"{look.sparsity:.2f}" for look in chain.looks], fontsize=8
        )
        axes.set_ylabel("overall, %")
        mark_stages(axes, list(chain.looks[0].layers))
        axes.grid(visible=False)
        canvas.colorbar(shown, ax=axes, label="pruned, %")

    title = f"{place + 1} {chain.title}"
    text = f"{title}: sparsity of each layer at each level, from 0 (dark) to 100 % (bright)"
    return Figure(title, drawing(paint, text, 5.2, 1.2 + 0.16 * len(chain.looks)))


def _stages(scope: Scope, levels: Sequence[float]) -> Table:
    chosen = []
    for chain in scope.chains:
        near = {look.sparsity: look for look in (nearest(chain.looks, s) for s in levels)}
        chosen += [(chain, look) for look in near.values()]
    stages = list(chosen[0][1].stages)
    return Table(
        "Kept weights of each stage, and their share of the stage",
        ("ticket", "sparsity, %", *stages, "all"),
        tuple(
            (
                chain.title,
                f"{look.sparsity:.2f}",
                *(_kept(look.stages[stage]) for stage in stages),
                f"{look.ticket.kept:,}",
            )
            for chain, look in chosen
        ),
        frozenset(range(1, len(stages) + 3)),
        "kept-by-stage.csv",
    )


def _kept(pair: tuple[int, int]) -> str:
    return f"{pair[0]:,} ({percent(pair):.1f} %)"


def _table(chain: Chain) -> Table:
    looks = spread(chain.looks, _COLUMNS)
    last = looks[-1]
    rows: list[tuple[str | Cell, ...]] = []
    for name, (_, total) in last.layers.items():
        dead = last.dead[name]
        rows.append(
            (
                name,
                f"{total:,}",
                *(f"{look.layers[name][0]:,}" for look in looks),
                f"{dead.dead_outputs} of {dead.outputs}",
                f"{dead.dead_inputs} of {dead.inputs}",
            )
        )
    columns = (
        "layer",
        "weights",
        *(f"kept at {look.sparsity:.2f} %" for look in looks),
        f"dead outputs at {last.sparsity:.2f} %",
        "dead inputs",
    )
    return Table(
        chain.title,
        columns,
        tuple(rows),
        frozenset(range(1, len(columns))),
        "layers.csv",
    )
