"""Detector parts that mmdet does not have on its own."""

from lth_det.models.spp import SpatialPyramidPooling

__all__ = ["SpatialPyramidPooling"]
