"""Mean average precision of multi-label classification, as on Pascal VOC 2007.

There are three readings of it, which differ by some points: the mean of the interpolated precision
at VOC 2007's eleven recalls, the area under the interpolated curve (VOC 2010's, and what Goyal et
al. compute on VOC 2007), and the area without interpolation (mmpretrain's, scikit-learn's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lth_core.errors import ConfigError
from mmengine.evaluator import BaseMetric
from mmpretrain.evaluation.metrics.voc_multi_label import VOCMetricMixin
from mmpretrain.registry import METRICS

MODES = ("area", "11points", "plain")


def average_precision(scores: npt.ArrayLike, positive: npt.ArrayLike, mode: str = "area") -> float:
    """The average precision of one class.

    Images with equal scores come in together: their order is not the classifier's merit.

    Args:
        scores: ``(N,)``, the higher the surer.
        positive: ``(N,)``, which images show the class.
        mode: ``"area"`` under the interpolated curve, where interpolated is the highest precision
            at this recall or a higher one; ``"11points"``, the mean of that at recalls 0, 0.1, ...,
            1; or ``"plain"``, the area without interpolation.

    Returns:
        In [0, 1]; NaN if no image shows the class.

    Raises:
        ConfigError: If there is no such mode.
    """
    if mode not in MODES:
        raise ConfigError(f"average precision: mode is {mode!r}; choose from {', '.join(MODES)}")
    found = np.asarray(scores, np.float64)
    truth = np.asarray(positive, bool)
    if not truth.any():
        return float("nan")
    order = np.argsort(-found, kind="stable")
    found, truth = found[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(found)), len(found) - 1)  # of each run of equal scores
    hits = np.cumsum(truth)[last]
    recall = hits / truth.sum()
    precision = hits / (last + 1)
    if mode == "plain":
        return float(np.sum(np.diff(recall, prepend=0) * precision))
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    if mode == "area":
        return float(np.sum(np.diff(recall, prepend=0) * interpolated))
    # Recalls are multiples of 1 / positives: a tenth is reached at the nearest one, not just below.
    reached = [interpolated[recall >= tenth / 10 - 1e-9] for tenth in range(11)]
    return float(np.mean([each[0] if len(each) else 0.0 for each in reached]))


@METRICS.register_module()
class VOCClassificationAP(VOCMetricMixin, BaseMetric):
    """Mean average precision over the classes, in percent.

    ``voc/mAP`` is by area, and beside it are ``voc/mAP_11points`` and ``voc/mAP_plain``.

    An image that shows a class in objects marked difficult only is left out of that class. So is a
    class that no image shows. Samples have ``pred_score``, ``gt_label`` and ``gt_label_difficult``:
    name the latter in the ``meta_keys`` of ``PackInputs``.

    Args:
        classwise: Whether to report every class too, as ``voc/AP_dog``, by area.
        collect_device: As mmengine's.
        prefix: As mmengine's, ``voc`` by default.
    """

    default_prefix = "voc"

    def __init__(
        self, classwise: bool = False, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.classwise = classwise

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Takes a batch's scores.

        Raises:
            ConfigError: If it is not said which labels are difficult.
        """
        if any("gt_label_difficult" not in sample for sample in data_samples):
            raise ConfigError(
                "VOCClassificationAP needs gt_label_difficult among the meta_keys of PackInputs"
            )
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """``mAP`` and its other readings, in percent; of each class if that is wanted."""
        scores = torch.stack([each["pred_score"] for each in results]).double().cpu().numpy()
        truth = torch.stack([each["gt_score"] for each in results]).cpu().numpy()
        aps = {mode: [_of_class(s, t, mode) for s, t in zip(scores.T, truth.T, strict=True)]
               for mode in MODES}  # fmt: skip
        means = {mode: 100 * float(np.nanmean(found)) for mode, found in aps.items()}
        metrics = {"mAP": means.pop("area")} | {f"mAP_{mode}": m for mode, m in means.items()}
        if self.classwise:
            names = (self.dataset_meta or {}).get("classes") or range(len(aps["area"]))
            metrics |= {f"AP_{name}": 100 * ap for name, ap in zip(names, aps["area"], strict=True)}
        return metrics


def _of_class(scores: npt.NDArray[Any], truth: npt.NDArray[Any], mode: str) -> float:
    """``truth`` is 1 where the class is shown, 0 where not, -1 where that is left out."""
    counted = truth >= 0
    return average_precision(scores[counted], truth[counted] > 0, mode)
