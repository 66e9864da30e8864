"""Detectors of mmdet as they are shipped, trained from a ticket by one more line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lth_core as lth
import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from upstream_training import (
    check_exact,
    check_statistics,
    own_ticket,
    torchvision_ticket,
    train_two_steps,
)

from .toy_coco import make_coco

RESNET50 = (
    # One stage.
    "retinanet/retinanet_r50_fpn_1x_coco.py",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "atss/atss_r50_fpn_1x_coco.py",
    "gfl/gfl_r50_fpn_ms-2x_coco.py",
    "vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco.py",  # deformable convolutions in the backbone
    "tood/tood_r50_fpn_1x_coco.py",
    "paa/paa_r50_fpn_1x_coco.py",
    "yolof/yolof_r50-c5_8xb8-1x_coco.py",
    "ddod/ddod_r50_fpn_1x_coco.py",
    "reppoints/reppoints-minmax_r50_fpn-gn_head-gn_1x_coco.py",
    "libra_rcnn/libra-retinanet_r50_fpn_1x_coco.py",
    "solov2/solov2_r50_fpn_1x_coco.py",
    # Two stages and more.
    "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "sparse_rcnn/sparse-rcnn_r50_fpn_300-proposals_crop-ms-480-800-3x_coco.py",
    # Transformers, with a learning rate of the backbone's own and clipping.
    "conditional_detr/conditional-detr_r50_8xb2-50e_coco.py",
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
)
OWN = (
    "faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco.py",
    "res2net/faster-rcnn_res2net-101_fpn_2x_coco.py",
    "gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py",
    "regnet/retinanet_regnetx-800MF_fpn_1x_coco.py",
    "resnest/faster-rcnn_s50_fpn_syncbn-backbone+head_ms-range-1x_coco.py",
    "hrnet/fcos_hrnetv2p-w18-gn-head_4xb4-1x_coco.py",
    "detectors/cascade-rcnn_r50-sac_1x_coco.py",
    "centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py",
    "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",  # averaged weights
    "yolo/yolov3_mobilenetv2_8xb24-ms-416-300e_coco.py",
    "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py",
)


@pytest.fixture(autouse=True, scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Upstream configs look for data/coco where they are started."""
    root = tmp_path_factory.mktemp("upstream")
    (root / "data").mkdir()
    make_coco(root / "data", images=5)  # of which four have objects
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of torchvision's ResNet-50."""
    return torchvision_ticket(tmp_path_factory.mktemp("ticket"))


@pytest.fixture
def _amp_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets mmengine's mixed precision run where there is no GPU: in bfloat16, without scaling."""
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)


def test_frozen_stages_stay_frozen_and_are_masked(tmp_path: Path, resnet50: Path) -> None:
    runner = train_two_steps("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", resnet50, tmp_path)
    check_exact(runner, resnet50)
    check_statistics(runner, resnet50)
    frozen = [n for n, p in runner.model.backbone.named_parameters() if not p.requires_grad]
    assert "layer1.2.conv3.weight" in frozen  # frozen_stages=1
    assert "layer2.0.conv1.weight" not in frozen


@pytest.mark.usefixtures("_amp_on_cpu")
def test_mixed_precision(tmp_path: Path, resnet50: Path) -> None:
    name = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_amp-1x_coco.py"
    runner = train_two_steps(name, resnet50, tmp_path)
    assert type(runner.optim_wrapper).__name__ == "AmpOptimWrapper"
    check_exact(runner, resnet50)


def test_own_hooks_and_averaged_weights(tmp_path: Path) -> None:
    name = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"
    ticket = own_ticket(name, tmp_path)
    runner = train_two_steps(name, ticket, tmp_path)
    hooks = [type(hook).__name__ for hook in runner.hooks]
    assert "YOLOXModeSwitchHook" in hooks
    assert "EMAHook" in hooks
    saved = torch.load((tmp_path / "last_checkpoint").read_text(), weights_only=True)
    assert "ema_state_dict" in saved
    check_exact(runner, ticket)


def test_transformer_with_clipping_and_rates_by_layer(tmp_path: Path, resnet50: Path) -> None:
    runner = train_two_steps("mmdet::detr/detr_r50_8xb2-150e_coco.py", resnet50, tmp_path)
    assert runner.optim_wrapper.clip_grad_kwargs == {"max_norm": 0.1, "norm_type": 2}
    rates = {group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}
    assert rates == {1e-4, 1e-5}
    check_exact(runner, resnet50)


@pytest.mark.long
@pytest.mark.parametrize("name", RESNET50)
def test_detectors_on_a_resnet50(name: str, tmp_path: Path, resnet50: Path) -> None:
    check_exact(train_two_steps(f"mmdet::{name}", resnet50, tmp_path), resnet50)


@pytest.mark.long
def test_detector_that_wants_many_places(tmp_path: Path, resnet50: Path) -> None:
    few = {"model__num_queries": 100}  # of 900, more than small pictures have
    name = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"
    check_exact(train_two_steps(name, resnet50, tmp_path, **few), resnet50)


@pytest.mark.long
def test_detector_whose_head_has_the_last_stage(tmp_path: Path) -> None:
    name = "mmdet::faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py"
    ticket = own_ticket(name, tmp_path)
    nothing_to_load = {"model__roi_head__shared_head__init_cfg": None}
    runner = train_two_steps(name, ticket, tmp_path, **nothing_to_load)
    check_exact(runner, ticket)
    assert "layer4.0.conv1.weight" not in lth.Ticket.load(ticket).masks


@pytest.mark.long
@pytest.mark.usefixtures("_amp_on_cpu")
@pytest.mark.parametrize("name", [
    "mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py",
    "mmdet::cascade_rcnn/cascade-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco.py",
])  # fmt: skip
def test_mixed_precision_of_other_backbones(name: str, tmp_path: Path) -> None:
    ticket = own_ticket(name, tmp_path)
    check_exact(train_two_steps(name, ticket, tmp_path), ticket)


@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_detectors_on_backbones_of_their_own(name: str, tmp_path: Path) -> None:
    ticket = own_ticket(f"mmdet::{name}", tmp_path)
    check_exact(train_two_steps(f"mmdet::{name}", ticket, tmp_path), ticket)
