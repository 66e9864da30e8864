"""What this project adds to mmdet's heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lth_core.openmmlab.launch import load_config
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

CONFIGS = Path(__file__).parents[2] / "configs"


def test_losses_do_not_grow_with_the_batch() -> None:
    cfg = load_config(str(CONFIGS / "det/yolo_resnet50_voc.py")).model
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build({**cfg.bbox_head, "train_cfg": cfg.train_cfg})
    torch.manual_seed(0)
    maps = [torch.randn(1, 75, size, size) for size in (12, 6, 3)]
    box = InstanceData(bboxes=torch.tensor([[10.0, 12, 70, 60]]), labels=torch.tensor([4]))
    meta = {"img_shape": (96, 96), "pad_shape": (96, 96)}
    one = head.loss_by_feat(maps, [box], [meta])
    four = head.loss_by_feat([m.repeat(4, 1, 1, 1) for m in maps], [box] * 4, [meta] * 4)
    assert set(one) == {"loss_cls", "loss_conf", "loss_xy", "loss_wh"}
    for name, levels in one.items():
        assert [float(x) for x in four[name]] == pytest.approx([float(x) for x in levels], rel=1e-4)
    assert sum(map(float, one["loss_cls"])) > 0
