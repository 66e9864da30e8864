"""A ticket config for each of OpenMMLab's three tools, on toy data in the real formats."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lth_core as lth
import torch
from cls.toy_imagenet import WIDTH, make_imagenet, torchvision_file
from det.toy_coco import make_coco
from lth_core.cli import main as lth_command
from seg.toy_data import make_cityscapes

OUT = [WIDTH * factor for factor in (4, 8, 16, 32)]
"""Channels of the narrow ResNet-50's stages."""

SIZE = (64, 96)
TICKET = "tickets/resnet50_imagenet_level10.safetensors"
NARROW = (f"model.backbone.base_channels={WIDTH}", f"model.backbone.stem_channels={WIDTH}")
LOADERS = tuple(
    f"{loader}_dataloader.{option}"
    for loader in ("train", "val", "test")
    for option in ("num_workers=0", "persistent_workers=False", "batch_size=2")
)


@dataclass(frozen=True)
class Family:
    """One of mmpretrain, mmdet and mmseg, and a training with it.

    Attributes:
        package: Its name.
        upstream: Config that is shipped with it.
        ours: Package of lth whose ticket base goes with it.
        data: Writes its data under a folder ``data``.
        options: What makes the config small.
        longer: The same training with twice its length.
        checkpoints: Names of the last checkpoints of both.
    """

    package: str
    upstream: str
    ours: str
    data: Callable[[Path], Path]
    options: tuple[str, ...]
    longer: str = "train_cfg.max_epochs=2"
    checkpoints: tuple[str, str] = ("epoch_1.pth", "epoch_2.pth")

    def tool(self, name: str) -> Path:
        """A script as the package's wheel ships it."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent / ".mim" / "tools" / name


FAMILIES = {
    family.package: family
    for family in (
        Family(
            "mmpretrain",
            "mmpretrain::resnet/resnet50_8xb32_in1k.py",
            "lth_cls",
            make_imagenet,
            (
                f"model.head.in_channels={OUT[3]}",
                "train_dataloader.dataset.pipeline.1.scale=32",
                "val_dataloader.dataset.pipeline.1.scale=36",
                "val_dataloader.dataset.pipeline.2.crop_size=32",
                "test_dataloader.dataset.pipeline.1.scale=36",
                "test_dataloader.dataset.pipeline.2.crop_size=32",
                "train_cfg.max_epochs=1",
            ),
        ),
        Family(
            "mmdet",
            "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
            "lth_det",
            make_coco,
            (
                f"model.neck.in_channels={OUT}".replace(" ", ""),
                "model.neck.out_channels=16",
                "model.bbox_head.in_channels=16",
                "model.bbox_head.feat_channels=16",
                "model.test_cfg.score_thr=0.0",
                "train_dataloader.dataset.pipeline.2.scale=(96,64)",
                "val_dataloader.dataset.pipeline.1.scale=(96,64)",
                "test_dataloader.dataset.pipeline.1.scale=(96,64)",
                "train_cfg.max_epochs=1",
            ),
        ),
        Family(
            "mmseg",
            "mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py",
            "lth_seg",
            make_cityscapes,
            (
                "ticket.partial=True",  # the stem is a deep one
                "model.pretrained=None",
                "model.data_preprocessor.size=(64,64)",
                f"model.decode_head.in_channels={OUT[3]}",
                "model.decode_head.channels=16",
                f"model.auxiliary_head.in_channels={OUT[2]}",
                "model.auxiliary_head.channels=16",
                "train_dataloader.dataset.pipeline.2.scale=(96,64)",
                "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
                "val_dataloader.dataset.pipeline.1.scale=(96,64)",
                "test_dataloader.dataset.pipeline.1.scale=(96,64)",
                "test_pipeline.1.scale=(96,64)",  # which its apis read
                "train_cfg.max_iters=2",
                "train_cfg.val_interval=2",
                "default_hooks.checkpoint.interval=2",
            ),
            "train_cfg.max_iters=4",
            ("iter_2.pth", "iter_4.pth"),
        ),
    )
}


def make_weights(folder: Path, name: str = "weights.pth") -> Path:
    """Writes a narrow ResNet-50 by torchvision's names; its path."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    torch.save(torchvision_file(), path)
    return path


def prepare(family: Family, folder: Path) -> Path:
    """Writes data, a ticket where the ticket base looks for it, and a user's config; its path."""
    family.data(folder / "data")
    make = ["ticket", "make", str(make_weights(folder)), "--level", "10", "-o"]
    assert lth_command([*make, str(folder / TICKET)]) == 0
    config = folder / "mine.py"
    base = f"{family.ours}::_base_/tickets/imagenet_90.py"
    config.write_text(f"_base_ = [{family.upstream!r}, {base!r}]\n")
    return config


def check_exact(checkpoint: Path, masks: lth.MaskSet) -> None:
    """Pruned weights are zero, survivors are not, and the masks are beside them."""
    content = torch.load(checkpoint, weights_only=True)
    assert content["lth"]["digest"] == masks.digest()
    for name, mask in masks.items():
        weight = content["state_dict"][f"backbone.{name}"]
        assert not weight[~mask].any()
        assert bool((weight[mask] != 0).all())


def small(family: Family, *more: str) -> list[str]:
    """Options that make a training small."""
    return ["--cfg-options", *NARROW, *LOADERS, *family.options, *more]


def run(folder: Path, *command: object, python: tuple[str, ...] = ()) -> str:
    """Runs a Python script in ``folder``, and returns what it has printed."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *python, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr
