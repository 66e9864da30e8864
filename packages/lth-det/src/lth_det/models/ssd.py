"""mmdet's SSD head, which can predict."""

from __future__ import annotations

from mmdet.models import SSDHead
from mmdet.registry import MODELS


@MODELS.register_module()
class PredictingSSDHead(SSDHead):
    """mmdet's ``SSDHead``, which training suits but not evaluation in mmdet 3.3.

    There the base of heads asks ``loss_cls`` for its channels, which this head alone does not have
    (open-mmlab/mmdetection, issue 11063).
    """

    loss_cls = None
