"""Portions of data sets: how many, which, in what order, and what samples say of themselves."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_cls.datasets import Portion
from lth_core.openmmlab.preflight import check_files
from mmengine.config import Config
from mmpretrain.datasets import BaseDataset

PIPELINE = [{"type": "mmpretrain.PackInputs"}]


class Made(BaseDataset):
    """Pictures of one pixel, whose value is their place, with the labels given."""

    METAINFO = {"classes": tuple("abcdefghij")}  # noqa: RUF012

    def __init__(self, labels: list[int], **kwargs: Any) -> None:
        self.labels = labels
        # Serialised, each data set would cost a collection of garbage.
        super().__init__(ann_file="", serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [
            {"img": np.full((1, 1, 3), place, np.uint8), "gt_label": label}
            for place, label in enumerate(self.labels)
        ]


def portion(labels: list[int], **options: Any) -> Portion:
    return Portion(Made(labels, pipeline=PIPELINE), **options)


def kept(data: Portion) -> list[tuple[int, int]]:
    """Places in the whole data set, and labels, as samples come out of the pipeline."""
    found = []
    for number in range(len(data)):
        sample = data[number]
        assert sample["data_samples"].sample_idx == number
        found.append((int(sample["inputs"][0, 0, 0]), int(sample["data_samples"].gt_label)))
    assert [label for _, label in found] == data.get_gt_labels().tolist()
    assert [label for _, label in found] == [data.get_cat_ids(k)[0] for k in range(len(data))]
    return found


LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=60)
SHARES = st.floats(0.01, 1)


@settings(max_examples=30, deadline=None)
@given(labels=LABELS, share=SHARES, seed=st.integers(0, 99))
def test_balanced_is_the_share_of_each_class(labels: list[int], share: float, seed: int) -> None:
    found = kept(portion(labels, images=share, seed=seed))
    counts = Counter(labels)
    assert Counter(label for _, label in found) == {
        label: max(1, round(share * count)) for label, count in counts.items()
    }
    places = [place for place, _ in found]
    assert places == sorted(set(places))  # each once, in the file's order
    assert all(labels[place] == label for place, label in found)


@settings(max_examples=30, deadline=None)
@given(labels=LABELS, share=SHARES, seed=st.integers(0, 99))
def test_random_and_file_are_the_share_of_all(labels: list[int], share: float, seed: int) -> None:
    count = int(share * len(labels))
    for order in ("random", "file"):
        if not count:
            with pytest.raises(lth.LTHError, match=f"nothing is left of {len(labels)} images"):
                portion(labels, images=share, order=order, seed=seed)
            continue
        found = kept(portion(labels, images=share, order=order, seed=seed))
        assert len(found) == count
        places = [place for place, _ in found]
        assert places == (list(range(count)) if order == "file" else sorted(set(places)))
        assert all(labels[place] == label for place, label in found)


@settings(max_examples=30, deadline=None)
@given(labels=LABELS, share=SHARES, seed=st.integers(0, 99))
def test_classes_are_kept_whole_and_keep_their_numbers(
    labels: list[int], share: float, seed: int
) -> None:
    found = kept(portion(labels, classes=share, seed=seed))
    chosen = {label for _, label in found}
    assert len(chosen) == max(1, round(share * len(set(labels))))
    assert found == [(p, label) for p, label in enumerate(labels) if label in chosen]


@settings(max_examples=30, deadline=None)
@given(
    labels=LABELS,
    share=SHARES,
    seed=st.integers(0, 99),
    what=st.sampled_from(["images", "classes"]),
)
def test_hidden_labels_are_of_all_that_is_not_in_the_portion(
    labels: list[int], share: float, seed: int, what: str
) -> None:
    shown = dict(kept(portion(labels, seed=seed, **{what: share})))
    found = kept(portion(labels, seed=seed, hide_labels=True, **{what: share}))
    assert found == [(place, shown.get(place, -1)) for place in range(len(labels))]


def test_the_seed_decides_alone() -> None:
    labels = [k % 10 for k in range(100)]
    np.random.seed(3)
    first = kept(portion(labels, images=0.3))
    np.random.seed(4)
    assert kept(portion(labels, images=0.3)) == first
    others = [kept(portion(labels, images=0.3, seed=seed)) for seed in range(1, 6)]
    assert all(other != first for other in others)
    classes = {tuple(kept(portion(labels, classes=0.3, seed=seed))) for seed in range(10)}
    assert len(classes) > 5


def test_whole_data_set_is_not_changed_and_names_its_classes() -> None:
    whole = Made([0, 1, 2, 3], pipeline=PIPELINE)
    data = Portion(whole, images=0.25, hide_labels=True)
    assert data.metainfo == whole.metainfo
    assert list(whole.get_gt_labels()) == [0, 1, 2, 3]
    assert data[-1]["data_samples"].sample_idx == 3
    again = copy.deepcopy(data)
    assert kept(again) == kept(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give images or classes"),
        ({"images": 0.1, "classes": 0.1}, "give images or classes"),
        ({"images": 0}, "0 is no share"),
        ({"images": 1.5}, "1.5 is no share"),
        ({"classes": True}, "True is no share"),
        ({"images": 0.5, "order": "first"}, "choose from balanced, random, file"),
        ({"classes": 0.5, "order": "file"}, "classes are always drawn"),
        ({"images": 0.5, "seed": -1}, "seed=-1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(lth.LTHError, match=message):
        portion([0, 1], **options)


def test_missing_files_inside_are_found_before_anything_is_built(tmp_path: Path) -> None:
    cfg = Config(
        {
            "train_dataloader": {
                "dataset": {
                    "type": "Portion",
                    "images": 0.1,
                    "dataset": {"type": "ImageNet", "data_root": str(tmp_path / "nowhere")},
                }
            }
        }
    )
    with pytest.raises(lth.LTHError, match=r"ImageNet needs .*nowhere.*image-net\.org"):
        check_files(cfg, ("train_dataloader",))
