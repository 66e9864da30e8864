"""Lets configs inherit from lth's packages: ``_base_ = 'lth_det::det/ticket_moco_90.py'``."""

from __future__ import annotations

from mmengine.config.utils import MODULE2PACKAGE

NAMES = ("lth_cls", "lth_det", "lth_seg")


def install() -> None:
    """Tells mmengine, which knows only its own family's, the names of lth's packages."""
    for name in NAMES:
        MODULE2PACKAGE.setdefault(name, name.replace("_", "-"))
