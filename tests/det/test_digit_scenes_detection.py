"""Digit scenes as an mmdet data set, and the detector's config."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import numpy as np
import pytest
import torch
from brief import SCENES, assert_trained, run_briefly
from lth_core.openmmlab import embedded
from lth_det.datasets import DigitScenesDetection
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "PackDetInputs", "meta_keys": ("img_id",)},
]


@pytest.fixture(autouse=True, scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.mark.parametrize(("split", "count"), [("train", 8), ("test", 4)])
def test_samples_are_the_composed_scenes(split: str, count: int) -> None:
    config = {
        "type": "DigitScenesDetection",
        "split": split,
        "settings": SCENES,
        "pipeline": PIPELINE,
        "test_mode": split == "test",
    }
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(config)
    assert isinstance(dataset, DigitScenesDetection)
    assert len(dataset) == count
    assert dataset.metainfo["classes"] == tuple("0123456789")
    assert dataset.metainfo["dataset_type"] is None  # else mmdet prints VOC's own class names
    settings = embedded.SceneSettings(**SCENES)
    for index in range(count):
        scene = embedded.compose(settings, split, index)
        sample = dataset[index]
        truth = sample["data_samples"].gt_instances
        assert sample["data_samples"].img_id == f"{split}_{index:05d}"
        assert truth.bboxes.tensor.tolist() == scene.boxes.tolist()
        assert truth.labels.tolist() == scene.labels.tolist()
        assert sample["inputs"].dtype == torch.uint8
        difference = sample["inputs"].flip(0).permute(1, 2, 0).numpy().astype(int) - scene.image
        assert np.abs(difference).mean() < 4  # BGR from mmcv, and JPEG


def test_settings_of_lists_and_seeds_reach_the_scenes() -> None:
    settings = {**SCENES, "image_size": 64, "digits": [1, 2]}
    dataset = DigitScenesDetection(split="train", seed=5, settings=settings)
    info = dataset.get_data_info(0)
    assert (info["width"], info["height"]) == (64, 64)
    same = embedded.SceneSettings(**{**settings, "digits": (1, 2)})
    expected = embedded.compose(same, "train", 0, seed=5)
    assert [i["bbox"] for i in info["instances"]] == expected.boxes.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split='val': the digit scenes have a 'train' and a 'test' split"),
        ({"settings": {"sise": 3}}, "unknown scene setting sise: there are image_size, "),
    ],
)
def test_wrong_requests_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(lth.LTHError) as caught:
        DigitScenesDetection(**{"settings": SCENES, **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_detector_trains_and_is_evaluated(tmp_path: Path) -> None:
    settings = {
        "train_dataloader__dataset__settings": SCENES,
        "val_dataloader__dataset__settings": SCENES,
    }
    runner = run_briefly("det/digits_fcos.py", tmp_path, **settings)
    assert_trained(runner)
    assert 0 <= runner.message_hub.get_scalar("val/pascal_voc/mAP").current() <= 1
