"""Spatial pyramid pooling as a neck, to stand before a path-aggregation neck."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.backbones.csp_darknet import SPPBottleneck
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor


@MODELS.register_module()
class SpatialPyramidPooling(BaseModule):
    """Pools the deepest feature map over several windows; the others pass unchanged.

    mmdet has this block inside its Darknet backbones only. YOLOv4 puts it behind the backbone
    (paper A's detector: ResNet-50 C5 -> SPP(5, 9, 13) -> PAN).

    Args:
        channels: Channels of the deepest map, before and after.
        kernel_sizes: Windows of the max-pools, in cells of that map.
    """

    def __init__(self, channels: int, kernel_sizes: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        self.pool = SPPBottleneck(
            channels,
            channels,
            kernel_sizes=tuple(kernel_sizes),
            norm_cfg={"type": "BN"},
            act_cfg={"type": "LeakyReLU", "negative_slope": 0.1},
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (N, C, H, W), shallow to deep, to maps of the same shapes."""
        return (*features[:-1], self.pool(features[-1]))
