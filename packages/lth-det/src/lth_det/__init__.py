"""Lottery tickets for mmdet detectors."""

import lth_core.openmmlab  # noqa: F401  # first: mmdet needs what it installs

from lth_det import datasets, metrics, models, transforms

__all__ = ["datasets", "metrics", "models", "transforms"]
