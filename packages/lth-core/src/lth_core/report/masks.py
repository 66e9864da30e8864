"""What the masks of the tickets show: one look at them for several sections."""

from __future__ import annotations

from collections.abc import Iterator

from lth_core.report.chains import survey
from lth_core.report.kernels import kernels
from lth_core.report.layers import layers
from lth_core.report.material import Material
from lth_core.report.section import Section
from lth_core.report.similarities import similarities


def masks(material: Material) -> Iterator[Section]:
    """Sections on layers, kernels and similarity."""
    scopes = survey(material)
    yield from layers(scopes)
    yield from similarities(scopes)
    yield from kernels(scopes)
