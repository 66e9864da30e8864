"""Segmentors of mmseg as they are shipped, trained from a ticket by one more line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lth_core.errors import TicketError
from upstream_training import check_exact, own_ticket, torchvision_ticket, train_two_steps

from .toy_data import make_ade20k, make_cityscapes, make_voc

PLAIN_STEM = "mmseg::pspnet/pspnet_r50b-d8_4xb2-80k_cityscapes-512x1024.py"
DEEP_STEM = "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py"
SEGMENTORS = (
    # ResNet-50 with a deep stem, dilated.
    "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py",
    "upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py",
    "danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py",
    "sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py",
    "fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py",
    "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py",
    # Other backbones.
    "resnest/resnest_s101-d8_fcn_4xb2-80k_cityscapes-512x1024.py",
    "ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py",
    "mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py",
    "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py",
    "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
)


@pytest.fixture(autouse=True, scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Upstream configs look for data/ where they are started."""
    root = tmp_path_factory.mktemp("upstream")
    (root / "data").mkdir()
    for make in (make_voc, make_cityscapes, make_ade20k):
        make(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of torchvision's ResNet-50."""
    return torchvision_ticket(tmp_path_factory.mktemp("ticket"))


def test_plain_stem(tmp_path: Path, resnet50: Path) -> None:
    check_exact(train_two_steps(PLAIN_STEM, resnet50, tmp_path), resnet50)


def test_deep_stem_is_an_error_unless_it_is_meant(tmp_path: Path, resnet50: Path) -> None:
    with pytest.raises(TicketError, match=r"stem is a deep one.*partial=True"):
        train_two_steps(DEEP_STEM, resnet50, tmp_path)
    runner = train_two_steps(
        DEEP_STEM, resnet50, tmp_path, ", partial=True", model__pretrained=None
    )
    check_exact(runner, resnet50)
    assert runner.model.backbone.stem[0].weight.shape == torch.Size([32, 3, 3, 3])


def test_queries_with_clipping_and_rates_by_layer(tmp_path: Path) -> None:
    name = "mmseg::knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py"
    ticket = own_ticket(name, tmp_path)
    runner = train_two_steps(name, ticket, tmp_path)
    assert runner.optim_wrapper.clip_grad_kwargs["max_norm"] == 1
    check_exact(runner, ticket)


@pytest.mark.long
def test_masks_by_queries(tmp_path: Path, resnet50: Path) -> None:
    name = "mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py"
    check_exact(train_two_steps(name, resnet50, tmp_path), resnet50)


@pytest.mark.long
@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentors_from_tickets_of_their_own(name: str, tmp_path: Path) -> None:
    ticket = own_ticket(f"mmseg::{name}", tmp_path)
    check_exact(train_two_steps(f"mmseg::{name}", ticket, tmp_path), ticket)
