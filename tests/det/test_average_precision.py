"""Average precision on VOC against values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from lth_det.metrics import VOCAveragePrecision

Box = tuple[float, float, float, float]
ONE: Box = (0, 0, 99, 99)
TWO: Box = (200, 0, 299, 99)
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def picture(
    truth: Sequence[tuple[Box, int]] = (),
    difficult: Sequence[tuple[Box, int]] = (),
    found: Sequence[tuple[Box, int, float]] = (),
) -> dict:
    """A picture's truth and detections, as mmdet's models hand them to metrics."""

    def boxes(items: Sequence[tuple]) -> torch.Tensor:
        return torch.tensor([item[0] for item in items], dtype=torch.float32).reshape(-1, 4)

    def labels(items: Sequence[tuple]) -> torch.Tensor:
        return torch.tensor([item[1] for item in items], dtype=torch.int64)

    return {
        "gt_instances": {"bboxes": boxes(truth), "labels": labels(truth)},
        "ignored_instances": {"bboxes": boxes(difficult), "labels": labels(difficult)},
        "pred_instances": {
            "bboxes": boxes(found),
            "labels": labels(found),
            "scores": torch.tensor([item[2] for item in found]),
        },
    }


def evaluate(*pictures: dict, iou_thrs: Sequence[float] = (0.5,)) -> dict[str, float]:
    metric = VOCAveragePrecision(iou_thrs=list(iou_thrs), eval_mode="11points")
    metric.dataset_meta = {"classes": ("cat", "dog", "never seen"), "dataset_type": "VOC2007"}
    metric.process({}, pictures)
    return metric.evaluate(len(pictures))


CASES = {
    "found": ([picture([(ONE, 0)], found=[(ONE, 0, 0.9)])], 1),
    "not found": ([picture([(ONE, 0)])], 0),
    "another class": ([picture([(ONE, 0)], found=[(ONE, 1, 0.9)])], 0),
    # Precision 1 up to recall 1/2, which six of the eleven points have, then 2/3.
    "twice": (
        [picture([(ONE, 0), (TWO, 0)], found=[(ONE, 0, 0.9), (ONE, 0, 0.8), (TWO, 0, 0.7)])],
        (6 + 5 * 2 / 3) / 11,
    ),
    "half of them": ([picture([(ONE, 0), (TWO, 0)], found=[(ONE, 0, 0.9)])], 6 / 11),
    "a difficult one found": (
        [picture([(ONE, 0)], [(TWO, 0)], [(TWO, 0, 0.9), (TWO, 0, 0.85), (ONE, 0, 0.8)])],
        1,
    ),
    "a difficult one not found": ([picture([(ONE, 0)], [(TWO, 0)], [(ONE, 0, 0.8)])], 1),
    "difficult in another class": (
        [picture([(ONE, 0)], [(TWO, 1)], [(TWO, 0, 0.9), (ONE, 0, 0.8)])],
        1 / 2,
    ),
    "only difficult ones": ([picture([], [(ONE, 0)], [(ONE, 0, 0.9)])], 0),
    "something in an empty picture": (
        [picture(found=[(ONE, 0, 0.95)]), picture([(ONE, 0)], found=[(ONE, 0, 0.9)])],
        1 / 2,
    ),
    "nothing in an empty picture": (
        [picture(), picture([(ONE, 0)], found=[(ONE, 0, 0.9)])],
        1,
    ),
    "two classes": (
        [picture([(ONE, 0), (TWO, 1)], found=[(ONE, 0, 0.9), (ONE, 1, 0.9), (TWO, 1, 0.8)])],
        (1 + 1 / 2) / 2,
    ),
    # Both ends of a box are pixels of it: two rows of four overlap, not one of three.
    "half of a box": ([picture([((0, 0, 9, 3), 0)], found=[((0, 0, 9, 1), 0, 0.9)])], 1),
}


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case: str) -> None:
    pictures, expected = CASES[case]
    result = evaluate(*pictures)
    assert result["pascal_voc/AP50"] == pytest.approx(expected, abs=1e-6)  # no three digits
    assert result["pascal_voc/mAP"] == result["pascal_voc/AP50"]


def test_mean_over_thresholds() -> None:
    """77 of 100 rows overlap: found at six thresholds of ten."""
    result = evaluate(picture([(ONE, 0)], found=[((0, 0, 99, 76), 0, 0.9)]), iou_thrs=THRESHOLDS)
    assert list(result) == [
        "pascal_voc/mAP",
        *(f"pascal_voc/AP{percent}" for percent in range(50, 100, 5)),
    ]
    assert result["pascal_voc/mAP"] == pytest.approx(0.6)
    assert result["pascal_voc/AP50"] == result["pascal_voc/AP75"] == 1
    assert result["pascal_voc/AP80"] == 0
