"""Counts of upstream models, against mmengine's; and the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core.cli import main as lth_command
from lth_core.openmmlab import complexity, launch
from lth_core.openmmlab.models import build_model
from lth_core.randomness import isolated
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm

from .openmmlab_runs import make_weights

QUICK = (
    ("mmpretrain::resnet/resnet50_8xb32_in1k.py", (64, 64)),
    ("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", (64, 96)),
    ("mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py", (64, 96)),
)
LONG = (
    ("mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py", (224, 224)),
    ("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", (64, 96)),
    ("mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", (64, 96)),
    ("mmdet::ssd/ssd300_coco.py", (300, 300)),
    ("mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py", (64, 96)),
    ("mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", (64, 64)),
)
CASES = [*QUICK, *(pytest.param(*case, marks=pytest.mark.long) for case in LONG)]


def mmengines(cfg: Config, size: tuple[int, int]) -> dict[str, int]:
    """What mmengine counts, on the same weights and the same picture."""
    with isolated(0):
        model = revert_sync_batchnorm(build_model(cfg)).eval()
        if hasattr(model, "auxiliary_head"):
            model.auxiliary_head = None
        picture = torch.rand(1, 3, *size)
        model.forward = complexity.tensor_forward(model, size)
        with torch.no_grad():
            counted = get_model_complexity_info(
                model, None, (picture,), show_table=False, show_arch=False
            )
    return {"flops": counted["flops"], "params": counted["params"]}


@pytest.mark.parametrize(("config", "size"), CASES)
def test_dense_counts_are_mmengines(config: str, size: tuple[int, int]) -> None:
    cfg = launch.load_config(config)
    total = complexity.count_config(cfg, None, (3, *size)).total
    assert {"flops": total.flops, "params": total.params} == mmengines(cfg, size)
    assert (total.kept_flops, total.kept_params) == (total.flops, total.params)


def test_deformable_convolutions_come_on_top() -> None:
    """mmengine does not see mmcv's operators."""
    cfg = launch.load_config("mmdet::dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py")
    counts = complexity.count_config(cfg, None, (3, 64, 96))
    at = {"layer2": 8 * 12, "layer3": 4 * 6, "layer4": 2 * 3}
    channels = {"layer2": 128, "layer3": 256, "layer4": 512}
    blocks = {"layer2": 4, "layer3": 6, "layer4": 3}
    wanted = sum(9 * channels[s] ** 2 * at[s] * blocks[s] for s in at)
    assert counts.total.flops - mmengines(cfg, (64, 96))["flops"] == wanted


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    path = tmp_path / "ticket.safetensors"
    weights = str(make_weights(tmp_path))
    assert lth_command(["ticket", "make", weights, "--level", "10", "-o", str(path)]) == 0
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A narrow classifier that the ticket fits."""
    path = tmp_path / "config.py"
    path.write_text(
        "_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'\n"
        "model = dict(backbone=dict(base_channels=4, stem_channels=4))\n"
        "model['head'] = dict(in_channels=128)\n"
    )
    return path


def test_the_command(ticket: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command = ["ticket", "flops", str(ticket), "--config", str(config), "--shape", "32", "48"]
    assert lth_command(command) == 0
    table = capsys.readouterr().out
    assert lth_command([*command, "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["shape"] == [3, 32, 48]
    backbone = [
        f"backbone.{name}" for name in ("conv1", "bn1", *(f"layer{k}" for k in range(1, 5)))
    ]
    assert list(counts["stages"]) == [*backbone, "neck", "head"]
    assert all(name in table for name in counts["stages"])
    masks = lth.Ticket.load(ticket).masks
    assert counts["total"]["params"] - counts["total"]["kept_params"] == masks.total - masks.kept
    for key in counts["total"]:
        assert sum(stage[key] for stage in counts["stages"].values()) == counts["total"][key]
    assert counts["stages"]["head"]["flops"] == 128 * 1000
    assert f"{100 * counts['total']['kept_flops'] / counts['total']['flops']:.1f}" in table


@pytest.mark.parametrize(
    ("file", "shape", "message"),
    [
        ("weights.pth", "32", "--shape is 32; give height and width"),
        ("weights.pth", "32 32", "has no masks: it was not trained from a ticket"),
        ("nowhere.safetensors", "32 32", "nowhere.safetensors"),
        ("nowhere.pth", "32 32", "does not exist"),
        ("other.safetensors", "32 32", "the masks do not fit"),
        ("ticket.safetensors", "1 32 32", "cannot be run on a picture of 1 x 32 x 32"),
    ],
)
def test_what_it_refuses_is_one_line(
    file: str,
    shape: str,
    message: str,
    ticket: Path,
    config: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = lth.MaskSet({"layer1.0.conv1.weight": torch.ones(5, 5, 1, 1, dtype=torch.bool)})
    lth.Ticket(other).save(ticket.parent / "other.safetensors")
    path = str(ticket.parent / file)
    capsys.readouterr()
    command = ["ticket", "flops", path, "--config", str(config), "--shape", *shape.split()]
    assert lth_command(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
