"""Published numbers are those of the paper, and their sparsities those of its ladder."""

from __future__ import annotations

import pytest
from lth_core.errors import ConfigError
from lth_core.published import DOUBLE_WIN, TASK_SPECIFIC, TRANSFERRED, curves, extremes

LEVELS = [0, 3, 5, 7, 9, 11, 14, 18]

# Typed from the paper's figures and its text, apart from the packaged tables.
CURVES = {
    ("CIFAR-10", "ImageNet labels", TRANSFERRED): (95.3, 95.49, 95.26, 95.68, 94.48, 94.90, 93.42,
                                                   91.56),
    ("CIFAR-100", "SimCLR", TASK_SPECIFIC): (81.78, 81.81, 81.89, 82.14, 81.84, 81.70, 80.91,
                                             80.06),
    ("CIFAR-100", "random, 5%", TASK_SPECIFIC): (75.94, 75.64, 75.42, 74.93, 73.86, 72.85, 70.45,
                                                 67.26),
    ("SVHN", "MoCo", TRANSFERRED): (96.40, 96.51, 96.64, 96.61, 96.45, 96.4, 96.07, 95.72),
    ("Fashion-MNIST", "SimCLR", TRANSFERRED): (94.78, 94.91, 94.85, 94.93, 94.84, 94.69, 94.40,
                                               94.03),
    ("VOC detection", "ImageNet labels", TASK_SPECIFIC): (47.9, 50.6, 51.0, 50.8, 50.8, 50.9, 49.9,
                                                          48.0),
    ("VOC segmentation", "SimCLR", TRANSFERRED): (62.4, 61.6, 59.6, 56.2, 50.4, 40.3, 29.7, 22.4),
}  # fmt: skip

EXTREMES = {
    ("CIFAR-10", "ImageNet labels", TASK_SPECIFIC, "accuracy"): 0.9820,
    ("CIFAR-100", "MoCo", TASK_SPECIFIC, "accuracy"): 0.2000,
    ("SVHN", "SimCLR", TRANSFERRED, "accuracy"): 0.9648,
    ("own pre-training task", "MoCo", TRANSFERRED, "accuracy"): 0.9560,
    ("VOC detection", "MoCo", TASK_SPECIFIC, "AP"): 0.9775,
    ("VOC detection", "SimCLR", TRANSFERRED, "AP50"): 0.8926,
    ("VOC segmentation", "SimCLR", TRANSFERRED, "mIoU"): 0.3600,
    ("four natural sets", "MoCo", TRANSFERRED, "accuracy"): 0.8926,
    ("VOC detection, SSD", "MoCo", TRANSFERRED, "AP50"): 0.8658,
    ("VOC detection, Faster R-CNN", "ImageNet labels", TRANSFERRED, "AP"): None,
}


@pytest.mark.parametrize("key", list(CURVES), ids=" ".join)
def test_curves_are_the_papers(key: tuple[str, str, str]) -> None:
    (curve,) = curves("paper-a", *key)
    assert tuple(point.value for point in curve.points) == CURVES[key]
    assert "digitised" in curve.source


def test_what_is_rough_is_told() -> None:
    (curve,) = curves(task="SVHN", weights="MoCo")
    assert [point.level for point in curve.points if point.rough] == [11]
    assert curve.uncertainty == 0.02


def test_there_are_thirty_four_curves_on_the_ladder() -> None:
    found = curves()
    # Figs. 3 and 5: eight curves of CIFAR-10 and of CIFAR-100, three of SVHN and of Fashion-MNIST
    # (the others were not read), six of detection and of segmentation.
    assert len(found) == 2 * 8 + 2 * 3 + 2 * 6
    assert len({(c.task, c.weights, c.mask, c.metric) for c in found}) == len(found)
    for curve in found:
        assert [point.level for point in curve.points] == LEVELS
        for point in curve.points:
            assert point.sparsity == pytest.approx(1 - 0.8**point.level, abs=1e-6)


def test_curves_of_one_start_agree_about_dense() -> None:
    for curve in curves(mask=TRANSFERRED):
        others = [c for c in curves(task=curve.task, weights=curve.weights) if c != curve]
        for other in others:  # the same trainings, read off other lines
            assert abs(curve.points[0].value - other.points[0].value) <= 1.0


@pytest.mark.parametrize("key", list(EXTREMES), ids=" ".join)
def test_extremes_are_the_papers(key: tuple[str, str, str, str]) -> None:
    *asked, metric = key
    (found,) = (each for each in extremes("paper-a", *asked) if each.metric == metric)
    if EXTREMES[key] is None:
        assert found.level is found.sparsity is None
    else:
        assert found.sparsity == pytest.approx(EXTREMES[key], abs=1e-4)


def test_double_wins_are_paper_cs() -> None:
    told = {
        "ImageNet labels": (89.26, 73.79),
        "ImageNet labels, fast adversarial": (89.26, 79.03),
        "ImageNet labels, adversarial": (91.41, 83.22),
    }
    for weights, (cifar10, cifar100) in told.items():
        found = {e.task: e for e in extremes("paper-c", weights=weights) if e.metric == DOUBLE_WIN}
        assert found.keys() == {"CIFAR-10", "CIFAR-100"}
        for each, percent in ((found["CIFAR-10"], cifar10), (found["CIFAR-100"], cifar100)):
            assert each.level is not None
            assert each.sparsity == pytest.approx(1 - 0.8**each.level, abs=1e-6)
            assert round(100 * (each.sparsity or 0), 2) == percent
    assert len(extremes("paper-c")) == 6
    with pytest.raises(ConfigError, match="no curves of paper-c are here"):
        curves("paper-c")


def test_extremes_are_on_the_ladder() -> None:
    found = [each for each in extremes() if each.level is not None]
    assert len(found) > 50
    for each in found:
        assert each.sparsity == pytest.approx(1 - 0.8**each.level, abs=1e-6)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'paper-z'.*there are paper-a"):
        curves("paper-z")
    with pytest.raises(ConfigError, match=r"no task 'CIFAR-7'.*CIFAR-10, CIFAR-100"):
        extremes(task="CIFAR-7")
