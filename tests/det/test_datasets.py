"""VOC and COCO in their published layouts, and what is said when a part of them is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from lth_core.cli import main
from lth_core.openmmlab.launch import load_config
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import DefaultScope

from .toy_coco import make_coco
from .toy_voc import make_voc

CONFIGS = Path(__file__).parents[2] / "configs"


def build(loader: str, config: str, root: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(root))
        cfg = load_config(str(CONFIGS / config))
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build(cfg[loader].dataset)


def test_voc_boxes(tmp_path: Path) -> None:
    dataset = build("val_dataloader", "det/yolo_resnet50_voc.py", make_voc(tmp_path, 3, empty=1))
    assert len(dataset) == 3  # an empty picture is tested too
    truth = [dataset[index]["data_samples"] for index in range(3)]
    assert [len(t.gt_instances) for t in truth] == [2, 1, 0]
    assert [len(t.ignored_instances) for t in truth] == [0, 1, 0]
    assert truth[1].gt_instances.labels.tolist() == [11]
    assert truth[1].ignored_instances.labels.tolist() == [14]
    # VOC counts pixels from 1; the truth stays in the picture's own pixels.
    assert truth[1].gt_instances.bboxes.tensor.tolist() == [[4, 6, 44, 49]]
    assert truth[1].ori_shape == (64, 96)
    assert truth[1].scale_factor == pytest.approx((416 / 96, 416 / 96), rel=0.01)
    inputs = dataset[1]["inputs"]
    assert inputs.shape == (3, 416, 416)
    assert (inputs[:, -100:] == 128).all()  # the letter box


def test_voc_for_training_is_both_years_without_empty_pictures(tmp_path: Path) -> None:
    root = make_voc(tmp_path, 3, empty=1)
    dataset = build("train_dataloader", "det/yolo_resnet50_voc.py", root)
    assert len(dataset) == 4
    np.random.seed(0)
    for index in range(4):
        sample = dataset[index]
        assert sample["inputs"].shape == (3, 416, 416)
        boxes = sample["data_samples"].gt_instances.bboxes.tensor
        assert ((boxes >= 0) & (boxes <= 416)).all()


def test_coco_boxes(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    dataset = build("val_dataloader", "det/coco/yolo_resnet50_coco.py", root)
    assert len(dataset) == 4
    truth = [dataset[index]["data_samples"] for index in range(4)]
    assert [len(t.gt_instances) for t in truth] == [2, 1, 2, 0]
    assert [len(t.ignored_instances) for t in truth] == [0, 1, 0, 0]  # a crowd
    assert truth[0].gt_instances.labels.tolist() == [0, 2]
    assert truth[0].gt_instances.bboxes.tensor[0].tolist() == [5, 7, 45, 50]
    dataset = build("train_dataloader", "det/coco/yolo_resnet50_coco.py", root)
    assert len(dataset) == 3
    assert dataset[0]["inputs"].shape == (3, 416, 416)


VOC = "VOCdevkit/VOC2007"
MISSING = [
    ("yolo_resnet50_voc.py", f"{VOC}/ImageSets/Main/test.txt", None, "host.robots.ox.ac.uk"),
    ("yolo_resnet50_voc.py", f"{VOC}/JPEGImages/2007_100001.jpg", None, "unpack"),
    ("yolo_resnet50_voc.py", f"{VOC}/Annotations/2007_100000.xml", None, "unpack"),
    ("yolo_resnet50_voc.py", f"{VOC}/Annotations/2007_100000.xml", "<annotation>", "no element"),
    ("yolo_resnet50_voc.py", f"{VOC}/Annotations/2007_100000.xml",
     "<annotation><object><name>dog</name></object></annotation>", "no VOC annotation"),
    ("coco/yolo_resnet50_coco.py", "coco/annotations/instances_val2017.json", None, "cocodataset"),
    ("coco/yolo_resnet50_coco.py", "coco/annotations/instances_val2017.json", "{", "no COCO"),
    ("coco/yolo_resnet50_coco.py", "coco/val2017/000000000002.jpg", None, "unpack"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "file", "content", "hint"), MISSING)
def test_missing_and_damaged_files_are_one_line(
    config: str, file: str, content: str | None, hint: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (make_coco if "coco" in config else make_voc)(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path))
    if hint in ("host.robots.ox.ac.uk", "cocodataset"):  # said before anything is built
        argv = ["train", str(CONFIGS / "det" / config), "--work-dir", str(tmp_path / "w")]
        assert main(argv) == 2
        lines = capsys.readouterr().err.splitlines()
    else:
        with pytest.raises(lth.LTHError) as caught:
            build("val_dataloader", f"det/{config}", tmp_path)
        lines = [str(caught.value)]
    assert len(lines) == 1
    assert file in lines[0]
    assert hint in lines[0]


class Others:
    """A data set of one grey picture."""

    def __len__(self) -> int:
        return 1


def sample(grey: int, label: int) -> dict[str, Any]:
    return {
        "img": np.full((8, 8, 3), grey, np.uint8),
        "gt_bboxes": HorizontalBoxes(torch.tensor([[0.0, 0, label, label]])),
        "gt_bboxes_labels": np.array([label]),
        "gt_ignore_flags": np.array([label == 2]),
    }


def test_mixup() -> None:
    with DefaultScope.overwrite_default_scope("mmdet"):
        mix = TRANSFORMS.build({"type": "BetaMixUp", "prob": 0.5, "alpha": 1.5})
    np.random.seed(0)
    drawn = [len(mix.get_indexes(Others())) for _ in range(2000)]
    assert 0.46 < np.mean(drawn) < 0.54
    alone = mix.transform({**sample(10, 1), "mix_results": []})
    assert (alone["img"] == 10).all()
    assert alone["gt_bboxes_labels"].tolist() == [1]

    parts = []
    for _ in range(500):
        mixed = mix.transform({**sample(0, 1), "mix_results": [sample(250, 2)]})
        parts.append(1 - mixed["img"][0, 0, 0] / 250)
        assert mixed["gt_bboxes_labels"].tolist() == [1, 2]
        assert mixed["gt_ignore_flags"].tolist() == [False, True]
        assert mixed["gt_bboxes"].tensor[:, 2].tolist() == [1, 2]
    # Beta(a, a) has mean 1/2 and variance 1 / (8 a + 4).
    assert np.mean(parts) == pytest.approx(0.5, abs=0.04)
    assert np.var(parts) == pytest.approx(1 / 16, abs=0.01)


def test_pictures_of_two_sizes_do_not_mix() -> None:
    with DefaultScope.overwrite_default_scope("mmdet"):
        mix = TRANSFORMS.build({"type": "BetaMixUp"})
    other = {**sample(9, 2), "img": np.zeros((4, 8, 3), np.uint8)}
    with pytest.raises(ValueError, match=r"do not blend"):
        mix.transform({**sample(0, 1), "mix_results": [other]})
