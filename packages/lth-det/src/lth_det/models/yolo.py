"""mmdet's YOLOv3 head, with losses that do not grow with the batch."""

from __future__ import annotations

from typing import Any

from mmdet.models import YOLOV3Head
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class MeanLossYOLOV3Head(YOLOV3Head):
    """mmdet's ``YOLOV3Head``, whose losses are the mean over pictures in place of the sum.

    So a rate means the same at every batch size per process, as ``--auto-scale-lr`` takes for
    granted, and the same as in paper A's code, which divides by the batch size too.
    """

    def loss_by_feat(
        self, pred_maps: list[Tensor], *args: Any, **kwargs: Any
    ) -> dict[str, list[Tensor]]:
        """Losses by name, one for each of ``pred_maps``, which are (N, C, H, W)."""
        losses = super().loss_by_feat(pred_maps, *args, **kwargs)
        pictures = len(pred_maps[0])
        return {name: [loss / pictures for loss in levels] for name, levels in losses.items()}
