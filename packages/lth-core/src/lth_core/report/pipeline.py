"""Which builders make a page, in its order."""

from __future__ import annotations

from collections.abc import Sequence

from lth_core.report.curves import curves
from lth_core.report.double_wins import double_wins
from lth_core.report.masks import masks
from lth_core.report.material import Material
from lth_core.report.numbers import numbers
from lth_core.report.predictions import predictions
from lth_core.report.provenance import provenance
from lth_core.report.robustness import robustness
from lth_core.report.section import Builder, Section
from lth_core.report.summary import summary
from lth_core.report.trained import trained
from lth_core.report.verdicts import verdicts

BUILDERS: tuple[Builder, ...] = (
    summary, curves, verdicts, double_wins, robustness, masks, trained, numbers, provenance,
)  # fmt: skip


def build(
    material: Material, builders: Sequence[Builder] = BUILDERS, pictures: int = 0
) -> list[Section]:
    """The sections of a page.

    Args:
        material: What was found.
        builders: In the order of their sections.
        pictures: How many test images to show with what models find in them, which takes the
            packages, configs and data of their trainings.
    """
    found = [section for builder in builders for section in builder(material)]
    shown = list(predictions(material, pictures))
    place = next((k for k, section in enumerate(found) if section.id == "layers"), len(found))
    return [*found[:place], *shown, *found[place:]]
