"""Digit scenes as an mmseg data set, and the segmenter's config."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import numpy as np
import pytest
import torch
from brief import SCENES, assert_trained, run_briefly
from lth_core.openmmlab import embedded
from lth_seg.datasets import DigitScenesSegmentation
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "PackSegInputs"},
]


@pytest.fixture(autouse=True, scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.mark.parametrize(("split", "count"), [("train", 8), ("test", 4)])
def test_samples_are_the_composed_scenes(split: str, count: int) -> None:
    config = {
        "type": "DigitScenesSegmentation",
        "split": split,
        "settings": SCENES,
        "pipeline": PIPELINE,
        "test_mode": split == "test",
    }
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(config)
    assert isinstance(dataset, DigitScenesSegmentation)
    assert len(dataset) == count
    assert dataset.metainfo["classes"] == ("background", *"0123456789")
    assert dataset.metainfo["palette"][:3] == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    settings = embedded.SceneSettings(**SCENES)
    for index in range(count):
        scene = embedded.compose(settings, split, index)
        sample = dataset[index]
        labels = sample["data_samples"].gt_sem_seg.data
        assert labels.shape == (1, settings.image_size, settings.image_size)
        assert np.array_equal(labels[0].numpy(), scene.classes)
        assert sample["inputs"].shape == (3, settings.image_size, settings.image_size)
        assert sample["inputs"].dtype == torch.uint8


@pytest.mark.parametrize("arguments", [{"split": "val"}, {"settings": {"sise": 3}}])
def test_wrong_requests_are_refused(arguments: dict) -> None:
    with pytest.raises(lth.LTHError, match=r"split='val'|unknown scene setting sise"):
        DigitScenesSegmentation(**{"settings": SCENES, **arguments})


def test_segmenter_trains_and_is_evaluated(tmp_path: Path) -> None:
    settings = {
        "train_dataloader__dataset__settings": SCENES,
        "val_dataloader__dataset__settings": SCENES,
    }
    runner = run_briefly("seg/digits_deeplabv3plus.py", tmp_path, **settings)
    assert_trained(runner)
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
