"""Numbers that papers have published, to be drawn beside one's own.

They are no runs: there is no seed, no config, and values that were read off a printed figure are as
sure as its pixels. So they are series of their own (:class:`Curve`) and never mix with
:class:`lth_core.results.Result`, whose names of columns they share. All metrics are in per cent.

``paper-a`` is Chen et al., *The Lottery Tickets Hypothesis for Supervised and Self-supervised
Pre-training in Computer Vision Models* (CVPR 2021): the curves of Figs. 3 and 5, digitised at eight
of the nineteen levels, and the extreme matching sparsities that its text tells.

``paper-c`` is Chen et al., *Data-Efficient Double-Win Lottery Tickets from Robust Pre-training*
(ICML 2022): the extreme double-win sparsities that its abstract tells. Their metric is
:data:`DOUBLE_WIN`: that they match dense in standard accuracy after standard training, and in
standard and robust accuracy after adversarial training.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import groupby

from lth_core.errors import ConfigError

PAPERS = ("paper-a", "paper-c")
"""Names of those whose numbers are here."""

WITH_CURVES = ("paper-a",)
"""Those whose curves are."""

DOUBLE_WIN = "double win"
"""``metric`` of extremes in three conditions at once, see :mod:`lth_core.matching.double_wins`."""

TRANSFERRED, TASK_SPECIFIC = "transferred", "task-specific"
"""``mask`` of (m_P, θ_P), found on the pre-training task, and of (m_T, θ), on the task itself."""


@dataclass(frozen=True)
class Point:
    """One level of a curve.

    Attributes:
        level: Prunes behind the mask, 0 for dense.
        sparsity: Pruned fraction, in [0, 1].
        value: The number.
        rough: Whether it could be read off less surely than :attr:`Curve.uncertainty` says.
    """

    level: int
    sparsity: float
    value: float
    rough: bool = False


@dataclass(frozen=True)
class Curve:
    """A published curve over sparsity.

    Attributes:
        task: What was trained.
        weights: What it started from.
        mask: Where the masks come from. The point of level 0 has none.
        metric: What the values are.
        points: By level.
        source: Paper and figure.
        uncertainty: How far off a value may be that is not rough, in the metric's units: one pixel
            of the figure.
    """

    task: str
    weights: str
    mask: str
    metric: str
    points: tuple[Point, ...]
    source: str
    uncertainty: float


@dataclass(frozen=True)
class Extreme:
    """A published extreme matching sparsity: of the sparsest level that matches dense.

    Attributes:
        task: What was trained.
        weights: What it started from.
        mask: Where the masks come from.
        metric: What it is measured by.
        level: The level, None if none matches.
        sparsity: Its sparsity, None if none matches.
        source: Paper, and where in it.
    """

    task: str
    weights: str
    mask: str
    metric: str
    level: int | None
    sparsity: float | None
    source: str


def curves(
    paper: str = "paper-a",
    task: str | None = None,
    weights: str | None = None,
    mask: str | None = None,
) -> list[Curve]:
    """Published curves, of one task, start or mask if these are given.

    Raises:
        ConfigError: If nothing of the paper, or of that task, start or mask, is here.
    """
    found = []
    wanted = {"task": task, "weights": weights, "mask": mask}
    for key, group in groupby(_rows(paper, "curves", wanted), key=_series):
        rows = list(group)
        points = tuple(
            Point(
                int(row["level"]), float(row["sparsity"]), float(row["value"]), row["rough"] != ""
            )
            for row in rows
        )
        source = f"{paper}, {rows[0]['figure']}, digitised"
        found.append(Curve(*key, points, source, float(rows[0]["uncertainty"])))
    return found


def extremes(
    paper: str = "paper-a",
    task: str | None = None,
    weights: str | None = None,
    mask: str | None = None,
) -> list[Extreme]:
    """Published extreme matching sparsities, of one task, start or mask if these are given.

    Raises:
        ConfigError: If nothing of the paper, or of that task, start or mask, is here.
    """
    return [
        Extreme(
            *_series(row),
            int(row["level"]) if row["level"] else None,
            float(row["sparsity"]) if row["sparsity"] else None,
            f"{paper}, {row['where']}",
        )
        for row in _rows(paper, "matching", {"task": task, "weights": weights, "mask": mask})
    ]


def _series(row: dict[str, str]) -> tuple[str, str, str, str]:
    return row["task"], row["weights"], row["mask"], row["metric"]


def _rows(paper: str, kind: str, wanted: dict[str, str | None]) -> Iterator[dict[str, str]]:
    if paper not in PAPERS:
        raise ConfigError(f"no numbers of {paper!r} are here; there are {', '.join(PAPERS)}")
    if kind == "curves" and paper not in WITH_CURVES:
        raise ConfigError(f"no curves of {paper} are here, only its extreme sparsities")
    file = resources.files(__name__) / f"{paper.replace('-', '_')}_{kind}.csv"
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    for name, value in wanted.items():
        there = sorted({row[name] for row in rows})
        if value is not None and value not in there:
            raise ConfigError(f"{paper} has no {name} {value!r}; it has {', '.join(there)}")
        rows = [row for row in rows if value in (None, row[name])]
    yield from rows
