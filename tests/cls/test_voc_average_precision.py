"""Average precision of VOC 2007: by hand, by brute force, by scikit-learn's and by mmpretrain's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_cls.evaluation import VOCClassificationAP, average_precision
from lth_core.errors import ConfigError
from mmengine.evaluator import Evaluator
from mmpretrain.evaluation import VOCAveragePrecision
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score

# Few different scores, so that many are equal.
IMAGES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=25).filter(
    lambda images: any(positive for _, positive in images)
)


@pytest.mark.parametrize(
    ("truth", "area", "eleven", "plain"),
    [
        # Precisions at the hits: 1, 2/3, 3/5, at recalls 1/3, 2/3, 1.
        ([1, 0, 1, 0, 1], (1 + 2 / 3 + 3 / 5) / 3, (4 + 3 * 2 / 3 + 4 * 0.6) / 11, 34 / 45),
        # 1/2 and 2/3: interpolated, what comes later and is higher counts for both.
        ([0, 1, 1], 2 / 3, 2 / 3, (1 / 2 + 2 / 3) / 2),
        ([1, 1, 0, 0], 1, 1, 1),
        ([0, 0, 0, 1], 1 / 4, 1 / 4, 1 / 4),
        # Ten hits: every tenth is met exactly, however it rounds. Then 5 misses, then 10 more.
        ([1] * 10 + [0] * 10, 1, 1, 1),
        ([1] * 3 + [0] * 3 + [1] * 7, (3 + 7 * 10 / 13) / 10, (4 + 7 * 10 / 13) / 11, None),
    ],
)
def test_by_hand(truth: list[int], area: float, eleven: float, plain: float | None) -> None:
    scores = np.linspace(1, -1, len(truth))
    assert average_precision(scores, truth) == pytest.approx(area)
    assert average_precision(scores, truth, "11points") == pytest.approx(eleven)
    if plain is not None:
        assert average_precision(scores, truth, "plain") == pytest.approx(plain)


@given(IMAGES)
def test_by_brute_force_over_thresholds(images: list[tuple[int, bool]]) -> None:
    points = []
    for threshold in {score for score, _ in images}:
        chosen = [positive for score, positive in images if score >= threshold]
        points.append((sum(chosen) / sum(p for _, p in images), sum(chosen) / len(chosen)))

    def best(recall: float) -> float:
        return max((p for r, p in points if r >= recall - 1e-12), default=0.0)

    scores, truth = zip(*images, strict=True)
    steps = sorted({0.0} | {recall for recall, _ in points})
    area = sum((b - a) * best(b) for a, b in itertools.pairwise(steps))
    assert average_precision(scores, truth) == pytest.approx(area)
    eleven = sum(best(tenth / 10) for tenth in range(11)) / 11
    assert average_precision(scores, truth, "11points") == pytest.approx(eleven)


@given(IMAGES, st.randoms())
def test_without_interpolation_it_is_scikit_learns(images: Any, random: Any) -> None:
    scores, truth = zip(*images, strict=True)
    plain = average_precision(scores, truth, "plain")
    assert plain == pytest.approx(average_precision_score(truth, scores))
    random.shuffle(images)  # where scores are equal, the order of the images plays no part
    scores, truth = zip(*images, strict=True)
    assert average_precision(scores, truth, "plain") == pytest.approx(plain)


def test_nothing_to_find_is_not_a_number_and_no_mode_is_guessed() -> None:
    assert np.isnan(average_precision([1, 2], [0, 0]))
    with pytest.raises(ConfigError, match="mode is 'voc'; choose from area, 11points, plain"):
        average_precision([1, 2], [0, 1], "voc")


def samples(seed: int, images: int = 30, classes: int = 4) -> list[DataSample]:
    """Every class is difficult alone in some images, and difficult beside plain ones in others."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(images):
        kinds = random.choice(["none", "plain", "difficult", "both"], classes)
        sample = DataSample().set_pred_score(torch.tensor(random.normal(size=classes)).float())
        sample.set_gt_label([k for k, kind in enumerate(kinds) if kind in ("plain", "both")])
        hard = [k for k, kind in enumerate(kinds) if kind in ("difficult", "both")]
        sample.set_field(hard, "gt_label_difficult", field_type="metainfo")
        onehot = [float(kind in ("plain", "both")) for kind in kinds]
        made.append(sample.set_gt_score(torch.tensor(onehot)))
    return made


def evaluated(metric: Any, data: list[DataSample]) -> dict[str, float]:
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {"classes": ["cat", "dog", "cow", "car"]}
    evaluator.process(data)
    found: dict[str, float] = evaluator.evaluate(len(data))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_without_interpolation_the_mean_is_mmpretrains(seed: int) -> None:
    data = samples(seed)
    mine = evaluated(VOCClassificationAP(), data)
    theirs = evaluated(VOCAveragePrecision(), data)["multi-label/mAP"]
    assert mine["voc/mAP_plain"] == pytest.approx(theirs, rel=1e-5)
    assert mine["voc/mAP"] > mine["voc/mAP_plain"]


def test_difficult_objects_are_left_out_and_classes_are_named() -> None:
    """By hand: cat is found at ranks 1 and 3 of three; dog is difficult in what ranks first."""
    rows = [([3.0, 9.0], [0], [1]), ([2.0, 1.0], [1], []), ([1.0, 0.0], [0], [0])]
    data = []
    for scores, labels, difficult in rows:
        sample = DataSample().set_pred_score(torch.tensor(scores)).set_gt_label(labels)
        sample.set_field(difficult, "gt_label_difficult", field_type="metainfo")
        data.append(sample)
    evaluator = Evaluator(VOCClassificationAP(classwise=True))
    evaluator.dataset_meta = {"classes": ["cat", "dog"]}
    evaluator.process(data)
    found = evaluator.evaluate(3)
    assert found["voc/AP_cat"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found["voc/AP_dog"] == pytest.approx(100)  # the first image does not count as a miss
    assert found["voc/mAP"] == pytest.approx(100 * (5 / 6 + 1) / 2)


def test_a_class_that_no_image_shows_is_left_out_of_the_mean() -> None:
    sample = DataSample().set_pred_score(torch.tensor([1.0, 0.0])).set_gt_label([0])
    sample.set_field([], "gt_label_difficult", field_type="metainfo")
    assert evaluated(VOCClassificationAP(), [sample])["voc/mAP"] == 100


def test_what_is_not_said_to_be_difficult_is_asked_for() -> None:
    sample = DataSample().set_pred_score(torch.tensor([1.0, 0.0])).set_gt_label([0])
    with pytest.raises(ConfigError, match="gt_label_difficult among the meta_keys"):
        evaluated(VOCClassificationAP(), [sample])
