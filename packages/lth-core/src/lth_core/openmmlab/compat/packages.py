"""Lets configs inherit from lth's packages: ``_base_ = 'lth_det::det/ticket_moco_90.py'``."""

from __future__ import annotations

from _lth_core_startup import add_names
from mmengine.config.utils import MODULE2PACKAGE


def install() -> None:
    """Tells mmengine lth's names where Python's start-up has not, as from a bare source tree."""
    add_names(MODULE2PACKAGE)
