"""Detector parts that mmdet does not have on its own."""

from lth_det.models.spp import SpatialPyramidPooling
from lth_det.models.ssd import PredictingSSDHead

__all__ = ["PredictingSSDHead", "SpatialPyramidPooling"]
