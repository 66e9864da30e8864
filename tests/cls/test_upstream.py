"""Classifiers and pre-trainings of mmpretrain as they are shipped, from a ticket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.optim.optimizer import amp_optimizer_wrapper
from upstream_training import check_exact, own_ticket, torchvision_ticket, train_two_steps

from .toy_imagenet import make_imagenet

RESNET50 = (
    "resnet/resnet50_8xb32_in1k.py",
    "resnet/resnet50_8xb32-mixup_in1k.py",
    "resnet/resnet50_8xb32-fp16_in1k.py",
    "resnet/resnet50_8xb32-coslr-preciseBN_in1k.py",
    "simclr/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py",  # everything is frozen
    "mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py",  # a momentum encoder
    "byol/byol_resnet50_16xb256-coslr-200e_in1k.py",
    "simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py",
    "densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py",
)
OWN = (
    "convnext/convnext-tiny_32xb128_in1k.py",
    "mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py",
    "efficientnet/efficientnet-b0_8xb32_in1k.py",
    "regnet/regnetx-400mf_8xb128_in1k.py",
    "res2net/res2net50-w14-s8_8xb32_in1k.py",
    "seresnet/seresnet50_8xb32_in1k.py",
    "densenet/densenet121_4xb256_in1k.py",
    "shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py",
)


@pytest.fixture(autouse=True, scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Upstream configs look for data/imagenet where they are started."""
    root = tmp_path_factory.mktemp("upstream")
    (root / "data").mkdir()
    make_imagenet(root / "data", images=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)  # bfloat16 on CPUs
        yield root


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket of torchvision's ResNet-50."""
    return torchvision_ticket(tmp_path_factory.mktemp("ticket"))


def test_mixed_pictures_and_a_large_batch_optimizer(tmp_path: Path, resnet50: Path) -> None:
    name = "mmpretrain::resnet/resnet50_8xb256-rsb-a3-100e_in1k.py"
    runner = train_two_steps(name, resnet50, tmp_path)
    assert type(runner.optim_wrapper.optimizer).__name__ == "Lamb"
    check_exact(runner, resnet50)


def test_views_are_put_together_by_a_function_of_another_scope(
    tmp_path: Path, resnet50: Path
) -> None:
    name = "mmpretrain::simclr/simclr_resnet50_16xb256-coslr-200e_in1k.py"
    check_exact(train_two_steps(name, resnet50, tmp_path), resnet50)


@pytest.mark.long
@pytest.mark.parametrize("name", RESNET50)
def test_a_resnet50(name: str, tmp_path: Path, resnet50: Path) -> None:
    check_exact(train_two_steps(f"mmpretrain::{name}", resnet50, tmp_path), resnet50)


@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_backbones_of_their_own(name: str, tmp_path: Path) -> None:
    ticket = own_ticket(f"mmpretrain::{name}", tmp_path)
    check_exact(train_two_steps(f"mmpretrain::{name}", ticket, tmp_path), ticket)
