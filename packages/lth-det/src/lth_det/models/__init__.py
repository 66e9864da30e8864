"""Detector parts that mmdet does not have on its own."""

from lth_det.models.spp import SpatialPyramidPooling
from lth_det.models.ssd import PredictingSSDHead
from lth_det.models.yolo import MeanLossYOLOV3Head

__all__ = ["MeanLossYOLOV3Head", "PredictingSSDHead", "SpatialPyramidPooling"]
