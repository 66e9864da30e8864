"""All results: means and deviations as tables, and files to take away."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence

from lth_core.report.groups import finite, measures, starts
from lth_core.report.material import Material
from lth_core.report.section import BAD, Cell, Download, Fold, Part, Section, Table
from lth_core.results import Result
from lth_core.statistics import spread

_COLUMNS = ("from", "mask", "level", "sparsity, %", "mean", "± sd", "seeds", "no number")
_OPEN = 30


def numbers(material: Material) -> Iterator[Section]:
    """A table for each task and metric."""
    if not material.results:
        return
    parts: list[Part] = [
        Download("Save all means (CSV)", "means.csv", _means(material)),
        Download("Save every single result (CSV)", "results.csv", _singles(material)),
    ]
    for (task, metric), results in measures(material.results).items():
        rows = tuple(_rows(results))
        table = Table(f"{task}: {metric}", _COLUMNS, rows, frozenset(range(2, 8)))
        parts.append(Fold(f"{task}: {metric}, {len(rows)} rows", (table,), len(rows) <= _OPEN))
    yield Section(
        "results",
        "All results",
        "Means and sample standard deviations over seeds; a single seed has no deviation. "
        "Trainings that came to no number (they diverged, or found nothing) are counted, and left "
        "out of the mean.",
        tuple(parts),
    )


def _rows(results: Sequence[Result]) -> Iterator[tuple[str | Cell, ...]]:
    for weights, start in starts(results).items():
        if start.dense:
            yield _row(weights, "dense", start.dense)
        for kind, levels in start.kinds.items():
            for runs in levels.values():
                yield _row(weights, str(kind), runs)


def _row(weights: str, mask: str, runs: Sequence[Result]) -> tuple[str | Cell, ...]:
    values = finite(runs)
    lost = len(runs) - len(values)
    found = spread(values) if values else None
    single = found is None or found.count == 1
    return (
        weights,
        mask,
        str(runs[0].level),
        f"{100 * spread([run.sparsity for run in runs]).mean:.2f}",
        "" if found is None else f"{found.mean:.6g}",
        "" if found is None or single else f"{found.deviation:.3g}",
        str(len(runs)),
        Cell(str(lost), BAD) if lost else "",
    )


def _means(material: Material) -> str:
    return _csv(
        ("task", "metric", *_COLUMNS),
        [
            (task, metric, *(cell if isinstance(cell, str) else cell.text for cell in row))
            for (task, metric), results in measures(material.results).items()
            for row in _rows(results)
        ],
    )


def _singles(material: Material) -> str:
    """In the form that :func:`lth_core.results.read` reads."""
    names = [field.name for field in dataclasses.fields(Result)]
    rows = [[getattr(each, name) for name in names] for each in material.results]
    return _csv(names, [["" if value is None else value for value in row] for row in rows])


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
