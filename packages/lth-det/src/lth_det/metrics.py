"""Average precision on VOC as paper A reports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.evaluation import VOCMetric, eval_map
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

FEW = 1000
"""Of fewer pictures, one process has all values before mmdet has started its usual four."""


@METRICS.register_module()
class VOCAveragePrecision(VOCMetric):
    """mmdet's ``VOCMetric`` with all its digits, and one table in place of one a threshold.

    mmdet rounds the value at each threshold to three digits, which is a tenth of what seeds differ
    by in paper A; and with ten thresholds it prints ten tables at each validation. The values are
    the same otherwise: ``mAP``, the mean over classes and thresholds, and ``AP50`` ... ``AP95``.
    """

    def compute_metrics(self, results: Sequence[tuple[Any, Any]]) -> dict[str, float]:
        """The values, from all pictures' ``(truth, detections by class)``."""
        if self.metric != "mAP":
            other: dict[str, float] = super().compute_metrics(results)
            return other
        truths, detections = zip(*results, strict=True)
        values: dict[str, float] = {}
        for threshold in self.iou_thrs:
            mean, _ = eval_map(
                detections,
                truths,
                iou_thr=threshold,
                scale_ranges=self.scale_ranges,
                dataset=self.dataset_meta["classes"],
                logger="silent" if values else MMLogger.get_current_instance(),
                eval_mode=self.eval_mode,
                nproc=1 if len(truths) < FEW else 4,
                use_legacy_coordinate=True,  # VOC counts the pixels of a box with both its ends
            )
            values[f"AP{round(100 * threshold)}"] = mean
        return {"mAP": sum(values.values()) / len(values), **values}
