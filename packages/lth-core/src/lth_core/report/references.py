"""Published curves beside measured ones: which are asked for, and where they belong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lth_core import published
from lth_core.errors import ConfigError

_STARTS = {
    "5%": "early",  # before what is random: random weights after 5 % of a training
    "early": "early",
    "moco": "moco",
    "simclr": "simclr",
    "label": "labels",
    "imagenet": "labels",
    "supervised": "labels",
    "random": "random",
    "none": "random",
}
"""Words by which starting weights are known, and what they mean."""


@dataclass(frozen=True)
class Reference:
    """A published curve.

    Attributes:
        label: Whose it is, and where its masks come from.
        task: What was trained.
        weights: What it started from.
        metric: What the values are, in per cent.
        points: Sparsity, as a fraction, and value of each, by sparsity.
        source: Paper and figure.
        beside: The measured tasks that it is drawn with; the one of the same name if empty.
    """

    label: str
    task: str
    weights: str
    metric: str
    points: tuple[tuple[float, float], ...]
    source: str
    beside: tuple[str, ...] = ()

    def belongs_to(self, task: str, metric: str, weights: str) -> bool:
        """Whether it is to be drawn in a figure of measured results."""
        named = task in self.beside if self.beside else _plain(task) == _plain(self.task)
        start = _start(weights)
        same_start = start is not None and start == _start(self.weights)
        return named and same_start and _measure(metric) == _measure(self.metric)

    def scaled(self, largest: float) -> Reference:
        """The same as a fraction, if the values measured do not exceed ``largest`` of 1."""
        if not 0 < largest <= 1:
            return self
        return replace(self, points=tuple((x, value / 100) for x, value in self.points))


def references(wanted: Iterable[str]) -> list[Reference]:
    """Published curves that are asked for.

    Args:
        wanted: Each ``PAPER``, ``PAPER:TASK`` or ``PAPER:TASK=MINE``; ``MINE`` is the measured task
            that they are drawn with. Papers that have no curves are passed over.

    Raises:
        ConfigError: If there is no such paper, or it has no curve of that task.
    """
    found: dict[tuple[str, ...], Reference] = {}
    for paper, task, mine in map(_parse, wanted):
        if paper in published.PAPERS and paper not in published.WITH_CURVES:
            continue
        for curve in published.curves(paper, task):
            label = f"{paper}, {curve.mask}"
            key = (label, curve.task, curve.weights, curve.metric)
            points = tuple((point.sparsity, point.value) for point in curve.points)
            before = found[key].beside if key in found else ()
            beside = (*before, mine) if mine else before
            found[key] = Reference(*key, points, curve.source, beside)
    return list(found.values())


def published_double_wins(wanted: Iterable[str]) -> list[published.Extreme]:
    """Published double-win sparsities that are asked for.

    Args:
        wanted: As for :func:`references`. Papers that have none are passed over.

    Raises:
        ConfigError: If the paper has none of that task, or they are to be drawn with curves.
    """
    found: dict[published.Extreme, None] = {}
    for paper, task, mine in map(_parse, wanted):
        if paper not in published.PAPERS or paper in published.WITH_CURVES:
            continue
        if mine:
            raise ConfigError(
                f"--reference {paper}:{task}={mine}: {paper} has no curves to draw with {mine!r}; "
                f"{paper}:{task} shows its double-win sparsities"
            )
        extremes = published.extremes(paper, task)
        found |= {each: None for each in extremes if each.metric == published.DOUBLE_WIN}
    return list(found)


def _parse(text: str) -> tuple[str, str | None, str]:
    """Paper, its task, and the measured task to draw with."""
    paper, _, task = text.partition(":")
    task, equals, mine = task.partition("=")
    if equals and not (task and mine):
        raise ConfigError(
            f"--reference {text}: it is PAPER, PAPER:TASK or PAPER:TASK=MINE, such as "
            "paper-a:CIFAR-10=digits"
        )
    return paper, task or None, mine


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _start(weights: str) -> str | None:
    return next((start for word, start in _STARTS.items() if word in weights.lower()), None)


def _measure(metric: str) -> str:
    """What OpenMMLab's names of metrics mean: ``coco/bbox_mAP`` is AP."""
    name = _plain(metric.rpartition("/")[2])
    if "top1" in name or "accuracy" in _plain(metric):
        return "accuracy"
    return next((known for known in ("ap50", "ap75", "ap", "miou") if name.endswith(known)), name)
