"""The digits as an mmpretrain data set, and their augmentation."""

from __future__ import annotations

import lth_core as lth
import numpy as np
import pytest
import torch
from lth_cls.datasets import DigitsDataset
from lth_cls.transforms import RandomDigitView
from lth_core.openmmlab import embedded
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

PACK = {"type": "PackInputs"}


@pytest.mark.parametrize(("split", "count"), [("train", 1347), ("test", 450)])
def test_samples_are_the_embedded_digits(split: str, count: int) -> None:
    dataset = DigitsDataset(split=split, pipeline=[PACK])
    digits = embedded.digits(split)
    assert len(dataset) == count
    assert dataset.metainfo["classes"] == tuple("0123456789")
    for index in (0, 7, count - 1):
        sample = dataset[index]
        assert sample["inputs"].shape == (3, 32, 32)
        assert sample["inputs"].dtype == torch.uint8
        for channel in sample["inputs"]:
            assert np.array_equal(channel.numpy(), digits.images[index])
        assert sample["data_samples"].gt_label.tolist() == [digits.labels[index]]
        assert sample["data_samples"].img_shape == (32, 32)
    assert dataset.get_gt_labels().tolist() == digits.labels.tolist()


def test_seed_and_size_reach_the_digits() -> None:
    dataset = DigitsDataset(split="test", seed=3, size=16)
    assert dataset[0]["img"].shape == (16, 16, 3)
    assert dataset.get_gt_labels().tolist() == embedded.digits("test", seed=3).labels.tolist()
    assert "test (seed 3)" in repr(dataset)


def test_classes_leave_out_other_digits() -> None:
    digits = embedded.digits("test")
    dataset = DigitsDataset(split="test", classes=("7", "5"), pipeline=[PACK])
    assert dataset.metainfo["classes"] == ("7", "5")
    kept = [i for i, label in enumerate(digits.labels) if label in (5, 7)]
    assert len(dataset) == len(kept)
    for sample, index in zip(dataset, kept, strict=True):
        assert np.array_equal(sample["inputs"][0].numpy(), digits.images[index])
        assert sample["data_samples"].gt_label.item() == (0 if digits.labels[index] == 7 else 1)


def test_per_class_keeps_as_many_of_each_and_the_same_ones() -> None:
    few = DigitsDataset(classes=("5", "6"), per_class=3)
    assert sorted(few.get_gt_labels().tolist()) == [0, 0, 0, 1, 1, 1]
    images = [sample["img"].tobytes() for sample in few]
    assert images == [
        sample["img"].tobytes() for sample in DigitsDataset(classes=("5", "6"), per_class=3)
    ]
    six = [sample["img"].tobytes() for sample in DigitsDataset(classes=("6",), per_class=3)]
    assert set(six) < set(images), "the other class plays no part"
    more = [sample["img"].tobytes() for sample in DigitsDataset(classes=("6",), per_class=9)]
    assert set(six) < set(more), "a larger set holds the smaller"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"classes": ("5", "five")}, "classes names 'five'; use '0' ... '9'"),
        ({"per_class": 0}, "per_class is 0, but train has"),
        ({"per_class": 1000}, "per_class is 1000, but train has"),
    ],
)
def test_digits_that_are_not_there(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(lth.LTHError, match=reason):
        DigitsDataset(**settings)


def test_registered_for_configs() -> None:
    assert DATASETS.get("DigitsDataset") is DigitsDataset
    with pytest.raises(lth.LTHError, match="split='val'"):
        DATASETS.build({"type": "DigitsDataset", "split": "val"})


def test_two_views_of_one_digit_differ() -> None:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        views = {"type": "MultiView", "num_views": 2, "transforms": [[{"type": "RandomDigitView"}]]}
        dataset = DigitsDataset(pipeline=[views, PACK])
    first, second = dataset[5]["inputs"]
    assert first.shape == second.shape == (3, 32, 32)
    assert not torch.equal(first, second)
    # The sample itself is left as it is.
    assert np.array_equal(dataset.get_data_info(5)["img"][..., 0], embedded.digits().images[5])


def draw(image: np.ndarray, **settings: object) -> np.ndarray:
    return RandomDigitView(**settings)({"img": image})["img"]


@pytest.fixture
def digit() -> np.ndarray:
    np.random.seed(0)
    return np.repeat(embedded.digits().images[0][..., None], 3, axis=2)


def test_view_follows_numpys_seed(digit: np.ndarray) -> None:
    view = draw(digit)
    assert view.shape == (32, 32, 3)
    assert view.dtype == np.uint8
    assert not np.array_equal(draw(digit), view)
    np.random.seed(0)
    assert np.array_equal(draw(digit), view)


def test_view_without_chance_only_recolours(digit: np.ndarray) -> None:
    view = draw(digit, scale=(1.0, 1.0), shift=0.0, angle=0.0, noise=0.0).astype(float)
    strength = digit.astype(float) / digit.max()
    paper, ink = view[strength[..., 0] == 0], view[strength[..., 0] == 1]
    assert np.ptp(paper, axis=0).max() == np.ptp(ink, axis=0).max() == 0
    assert (ink.mean() - paper.mean()) / digit.max() * 255 >= 79
    expected = paper[0] + strength * (ink[0] - paper[0])
    assert np.abs(view - expected).max() <= 1.5


def test_view_moves_and_resizes_within_its_bounds(digit: np.ndarray) -> None:
    dot = np.zeros((33, 33, 3), dtype=np.uint8)
    dot[12:21, 12:21] = 255
    centres, areas = [], []
    for _ in range(60):
        view = draw(dot, scale=(0.5, 1.5), shift=0.2, angle=0.0, noise=0.0).astype(float)
        # Relative to the corner, which is always paper here.
        share = np.abs(view - view[0, 0]).mean(axis=2)
        share /= share.max()
        areas.append(share.sum() / 81)
        centres.append(
            [(share.sum(axis=axis) * np.arange(33)).sum() / share.sum() for axis in (0, 1)]
        )
    offsets = np.abs(np.array(centres) - 16)
    assert 0.25 * 0.8 <= min(areas) < 0.6
    assert 1.7 < max(areas) <= 2.25 * 1.2
    assert 4 < offsets.max() <= 0.2 * 33 + 0.5


def test_fixed_views_are_the_same_at_every_visit() -> None:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        view = {"type": "RandomDigitView", "fixed": True}
        dataset = DigitsDataset(split="test", pipeline=[view, PACK])
    first = [dataset[index]["inputs"] for index in (0, 1)]
    np.random.seed(1)
    state = np.random.get_state()[1].tolist()
    again = [dataset[index]["inputs"] for index in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.random.get_state()[1].tolist() == state, "training's stream is not drawn from"
    plain = DigitsDataset(split="test", pipeline=[PACK])
    assert not torch.equal(first[0], plain[0]["inputs"])
