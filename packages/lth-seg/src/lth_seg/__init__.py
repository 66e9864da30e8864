"""Lottery tickets for mmseg segmenters."""

import lth_core.openmmlab  # noqa: F401  # first: mmseg needs what it installs

from lth_seg import datasets

__all__ = ["datasets"]
