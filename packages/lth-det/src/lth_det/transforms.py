"""Augmentation that mmdet does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type


@TRANSFORMS.register_module()
class BetaMixUp(BaseTransform):
    """Blends a picture with another one at a random ratio; the boxes of both count in full.

    mmdet's ``MixUp`` is YOLOX's: it always blends, at equal parts, and resizes and crops besides.
    This is the one of paper A's detector (section A.3), for mmdet's ``MultiImageMixDataset`` over
    pictures that are all of one size. Modifies ``img``, ``gt_bboxes``, ``gt_bboxes_labels`` and
    ``gt_ignore_flags``.

    Args:
        prob: How often a picture is blended at all.
        alpha: The ratio is drawn from Beta(alpha, alpha).
    """

    def __init__(self, prob: float = 0.5, alpha: float = 1.5) -> None:
        self.prob = prob
        self.alpha = alpha

    def get_indexes(self, dataset: Any) -> list[int]:
        """Which picture to blend with; none, and so none is loaded, if this one stays as it is."""
        if np.random.random() >= self.prob:
            return []
        return [int(np.random.randint(len(dataset)))]

    @autocast_box_type()
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Blends with ``results['mix_results']``, a list of one sample or none.

        Raises:
            ValueError: If the two pictures differ in size.
        """
        for other in results["mix_results"]:
            if other["img"].shape != results["img"].shape:
                raise ValueError(
                    f"BetaMixUp: {results['img'].shape} and {other['img'].shape} do not blend; "
                    "bring pictures to one size first"
                )
            part = np.random.beta(self.alpha, self.alpha)
            blend = part * results["img"] + (1 - part) * other["img"].astype(np.float64)
            results["img"] = np.rint(blend).astype(results["img"].dtype)
            boxes = results["gt_bboxes"]
            results["gt_bboxes"] = boxes.cat([boxes, other["gt_bboxes"]])
            for key in ("gt_bboxes_labels", "gt_ignore_flags"):
                results[key] = np.concatenate([results[key], other[key]])
        return results
