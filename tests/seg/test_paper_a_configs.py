"""Paper A's segmentation: data, every shipped config against the paper's settings, and at work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from lth_core.cli import main
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.models.backbones import ResNet
from mmseg.registry import DATASETS, MODELS

from .toy_data import make_cityscapes, make_voc

CONFIGS = Path(__file__).parents[2] / "configs"
STARTS = ("imagenet", "moco", "simclr")
FOLDERS = ("seg", "seg/cityscapes")
TICKETS = [f"{folder}/ticket_{start}_90.py" for folder in FOLDERS for start in STARTS]
DENSE = [f"{folder}/dense_{start}.py" for folder in FOLDERS for start in STARTS]
VOC, AUG = "seg/deeplabv3plus_resnet50_voc.py", "seg/deeplabv3plus_resnet50_vocaug.py"
CITYSCAPES = "seg/cityscapes/deeplabv3plus_resnet50_cityscapes.py"
WHOLE = [VOC, AUG, CITYSCAPES]
IMP = [f"imp/{folder}/{start}.py" for folder in FOLDERS for start in STARTS]

ON_DIGITS = ("seg/digits_deeplabv3plus.py", "seg/study/scenes_deeplabv3plus.py")
"""With tests of their own."""

IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
PIXELS = {"imagenet": IMAGENET, "moco": IMAGENET, "simclr": ([0, 0, 0], [255, 255, 255])}
"""What the weights were trained on (papers.md, A.4, items 4 and 17), R, G, B out of 255."""


def read(config: str) -> Config:
    return load_config(str(CONFIGS / config))


def build(loader: str, config: str, root: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(root))
        cfg = read(config)
    with DefaultScope.overwrite_default_scope("mmseg"):
        return DATASETS.build(cfg[loader].dataset)


# Data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", WHOLE)
def test_labels(config: str, tmp_path: Path) -> None:
    (make_cityscapes if config == CITYSCAPES else make_voc)(tmp_path)
    dataset = build("val_dataloader", config, tmp_path)
    assert len(dataset) == (2 if config == CITYSCAPES else 4)
    labels = dataset[0]["data_samples"].gt_sem_seg.data
    assert labels.shape == (1, 64, 96)
    assert labels.unique().tolist() == [0, 1, 15, 255]
    assert labels[0, 20, 20] == 1
    assert dataset[0]["inputs"].shape == (3, 64, 96)
    assert dataset.metainfo["classes"][15] == ("bus" if config == CITYSCAPES else "person")
    dataset = build("train_dataloader", config, tmp_path)
    assert len(dataset) == (8 if config == AUG else 4)
    np.random.seed(0)
    for index in range(4):
        sample = dataset[index]
        assert max(sample["inputs"].shape[1:]) <= 513
        assert sample["data_samples"].gt_sem_seg.shape == sample["inputs"].shape[1:]


BASE = "VOCdevkit/VOC2012"
MISSING = [
    (VOC, f"{BASE}/ImageSets/Segmentation/train.txt", "host.robots.ox.ac.uk"),
    (VOC, f"{BASE}/JPEGImages/2012_000001.jpg", "unpack"),
    (VOC, f"{BASE}/SegmentationClass/2012_000003.png", "unpack"),
    (AUG, f"{BASE}/SegmentationClassAug/2012_200000.png", "unpack"),
    (CITYSCAPES, "cityscapes/gtFine/train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png",
     "csCreateTrainIdLabelImgs"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "file", "hint"), MISSING)
def test_missing_files_are_one_line(
    config: str, file: str, hint: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (make_cityscapes if config == CITYSCAPES else make_voc)(tmp_path)
    (tmp_path / file).unlink()
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path))
    if hint == "host.robots.ox.ac.uk":  # said before anything is built
        assert main(["train", str(CONFIGS / config), "--work-dir", str(tmp_path / "work")]) == 2
        lines = capsys.readouterr().err.splitlines()
    else:
        with pytest.raises(lth.LTHError) as caught:
            build("train_dataloader", config, tmp_path)
        lines = [str(caught.value)]
    assert len(lines) == 1
    assert file in lines[0]
    assert hint in lines[0]


def test_a_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    make_cityscapes(tmp_path)
    for file in (tmp_path / "cityscapes/leftImg8bit/val").rglob("*.png"):
        file.unlink()
    with pytest.raises(lth.LTHError, match=r"val has no pictures \*_leftImg8bit.png"):
        build("val_dataloader", CITYSCAPES, tmp_path)


# Settings -----------------------------------------------------------------------------------------


def test_every_shipped_config_is_in_these_tests() -> None:
    found = [p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("seg/**/*.py")]
    found += [p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("imp/seg/**/*.py")]
    own = [*TICKETS, *DENSE, *WHOLE, *IMP]
    assert sorted(found) == sorted([*own, *ON_DIGITS])


@pytest.mark.parametrize("config", WHOLE)
def test_settings_are_the_papers(config: str) -> None:
    """papers.md, A.3: what its code does, where table 1 has another task's schedule."""
    cfg = read(config)
    assert cfg.train_cfg.max_iters == 30_000
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 4
    assert cfg.optim_wrapper.optimizer == {
        "type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4
    }  # fmt: skip
    (poly,) = cfg.param_scheduler
    assert (poly.type, poly.power, poly.eta_min, poly.end) == ("PolyLR", 0.9, 1e-6, 30_000)
    dataset = cfg.train_dataloader.dataset
    pipeline = dataset.get("pipeline") or dataset.datasets[1].pipeline
    found = {each.type: each for each in pipeline}
    assert found["RandomResize"].ratio_range == (0.5, 2.0)
    assert found["RandomCrop"].crop_size == (513, 513)
    assert found["RandomFlip"].prob == 0.5
    assert cfg.model.data_preprocessor.size == (513, 513)
    loss = cfg.model.decode_head.loss_decode
    assert (loss.type, loss.avg_non_ignore) == ("CrossEntropyLoss", True)
    assert cfg.model.auxiliary_head is None
    assert cfg.model.backbone.norm_cfg.momentum == 0.01
    assert cfg.randomness.seed == 10


def test_output_stride_and_rates(tmp_path: Path) -> None:
    cfg = read(VOC)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(cfg.model)
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, 129, 129))
    assert [f.shape[-1] for f in features] == [33, 17, 9, 9]  # the last at stride 16
    assert len(lth.prunable(model)) == 52
    assert model.backbone.conv1.kernel_size == (7, 7)
    momentum = {m.momentum for m in model.backbone.modules() if hasattr(m, "running_mean")}
    assert momentum == {0.01}
    runner = LTHRunner.from_cfg(small(VOC, tmp_path, tmp_path, tmp_path))
    groups = runner.build_optim_wrapper(cfg.optim_wrapper).optimizer.param_groups
    assert {group["lr"] for group in groups} == {0.01, 0.001}
    slow = sum(p.numel() for group in groups if group["lr"] == 0.001 for p in group["params"])
    assert slow > 0


@pytest.mark.parametrize("config", [*TICKETS, *DENSE, *IMP])
def test_pixels_follow_the_weights(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_TICKETS", "kept")
    monkeypatch.setenv("LTH_WEIGHTS", "published")
    cfg = read(config)
    start = next(start for start in STARTS if start in config)
    pixels = cfg.model.data_preprocessor
    assert (pixels["mean"], pixels["std"], pixels.bgr_to_rgb) == (*PIXELS[start], True)
    if config in TICKETS:
        name = start.replace("moco", "mocov2")
        assert cfg.ticket == {"path": f"kept/resnet50_{name}_level10.safetensors"}
        dense = read(config.replace("ticket", "dense").replace("_90", "")).to_dict()
        ticket = cfg.to_dict()
        del dense["model"]["backbone"]["init_cfg"], ticket["ticket"], ticket["runner_type"]
        assert dense == ticket
    else:
        assert cfg.model.backbone.init_cfg.type == "PretrainedBackbone"
        assert cfg.model.backbone.init_cfg.checkpoint == cfg.pretrained_weights
        assert cfg.pretrained_weights.startswith("published/")


@pytest.mark.parametrize("config", IMP)
def test_rounds_are_the_papers(config: str) -> None:
    settings = parse_imp(read(config).imp.to_dict())
    assert (settings.rounds, settings.amount, settings.rewind) == (18, 0.2, "pretrained")
    assert settings.keep == ()  # section A.4, item 15: all of it goes back


# At work ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_cityscapes(root)
    return make_voc(root, images=2)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow ResNet-50 as theta.pth and, with 48.8 % pruned, as ticket.safetensors."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    model = ResNet(50, base_channels=8, stem_channels=8)
    model.init_weights()
    torch.save(model.state_dict(), folder / "theta.pth")
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    for _ in range(3):
        masks = lth.prune(model, masks, amount=0.2)
    lth.Ticket(masks, model.state_dict()).save(folder / "ticket.safetensors")
    return folder


def small(config: str, data: Path, pretrained: Path, work_dir: Path) -> Config:
    """The config with a narrow model, two iterations and small crops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(data))
        cfg = read(config)
    model = cfg.model
    model.backbone.update(base_channels=8, stem_channels=8)
    model.decode_head.update(in_channels=256, c1_in_channels=32, channels=16, c1_channels=8)
    model.data_preprocessor.size = (65, 65)
    dataset = cfg.train_dataloader.dataset
    for each in dataset.get("datasets") or [dataset]:
        for transform in each.pipeline:
            if transform.type == "RandomCrop":
                transform.crop_size = (65, 65)
            elif transform.type == "RandomResize":
                transform.scale = (96, 96)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    if "ticket" in cfg:
        cfg.ticket.path = str(pretrained / "ticket.safetensors")
    if "init_cfg" in model.backbone:
        model.backbone.init_cfg.checkpoint = str(pretrained / "theta.pth")
    if "imp" in cfg:
        cfg.imp.rounds = 1
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    return cfg


QUICK = ("seg/ticket_moco_90.py", "seg/cityscapes/dense_simclr.py", AUG)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(c, marks=() if c in QUICK else pytest.mark.long)
        for c in (*TICKETS, *DENSE, *WHOLE)
    ],
)
def test_trains_two_iterations_and_is_evaluated(
    config: str, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    runner = LTHRunner.from_cfg(small(config, data, pretrained, tmp_path))
    runner.train()
    assert runner.iter == 2
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar("train/loss").current()))
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
    if config in TICKETS:
        masks = lth.Ticket.load(pretrained / "ticket.safetensors").masks
        state = runner.model.backbone.state_dict()
        assert all(not state[name][~mask].any() for name, mask in masks.items())
    # All of the backbone is in use, or several processes could not train it.
    stepped = runner.optim_wrapper.optimizer.state
    assert all(p in stepped for p in runner.model.backbone.parameters())


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=() if "moco" in c else pytest.mark.long) for c in IMP]
)
def test_finds_tickets_on_the_task(
    config: str, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    levels = LTHRunner.from_cfg(small(config, data, pretrained, tmp_path)).train()
    assert [round(level.sparsity, 4) for level in levels] == [0, 0.2]
    start = lth.Ticket.load(tmp_path / "level_01" / "ticket.safetensors")
    theta = torch.load(pretrained / "theta.pth")
    for name, tensor in (start.weights or {}).items():
        mask = start.masks.get(name)
        wanted = theta[name] if mask is None else theta[name].masked_fill(~mask, 0)
        assert torch.equal(tensor, wanted), name
