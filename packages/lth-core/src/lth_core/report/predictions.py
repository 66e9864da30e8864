"""What models find in test images, beside the truth."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

from lth_core.report.drawing import Photo
from lth_core.report.material import Material
from lth_core.report.runs import Trained, shown_runs
from lth_core.report.section import Figure, Figures, Group, Part, Section, Text
from lth_core.scope import printable

NOTE = (
    "The first test images of each task: the truth, then what models find that were trained from "
    "the dense network, from a ticket, and from a control of the same sparsity."
)
_WIDTH = 200


def predictions(material: Material, number: int) -> Iterator[Section]:
    """Pictures of the trainings whose config, checkpoint and test data are there.

    Args:
        material: Results say which trainings there are.
        number: How many images of each task; none for no section.
    """
    tasks = shown_runs(material.places) if number else {}
    parts = tuple(Group(task, tuple(_task(runs, number))) for task, runs in tasks.items())
    if parts:
        yield Section("predictions", "Predictions beside the truth", NOTE, parts)


def _task(runs: list[Trained], number: int) -> Iterator[Part]:
    try:
        drawer = importlib.import_module("lth_core.openmmlab.predictions")
        read = [drawer.read_run(run.directory) for run in runs]
        rows = drawer.draw(read[0][0], [checkpoint for _, checkpoint in read], number)
    # Configs build whatever they name, and data sets of others may raise anything: a picture
    # that is missing is no reason for a page that is.
    except Exception as problem:
        lines = str(problem).strip().splitlines() or [type(problem).__name__]
        yield Text(f"Not drawn: {printable(lines[0], 300)}")
        return
    titles = ["truth", *(run.title for run in runs)]
    for row in rows:
        yield side_by_side(
            [
                (f"{drawn.text}: {title}" if drawn.plain else title, drawn.jpeg, drawn.text)
                for title, drawn in zip(titles, row, strict=True)
            ]
        )


def side_by_side(row: Sequence[tuple[str, bytes, str]]) -> Figures:
    """One test image.

    Args:
        row: Caption, JPEG and what is in it, of the truth and of what each model finds.
    """
    return Figures(
        tuple(
            Figure(title, Photo(jpeg, "image/jpeg", f"{title}: {text}"))
            for title, jpeg, text in row
        ),
        _WIDTH,
    )
