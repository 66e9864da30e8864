"""Paper A's detection: every shipped config, against the paper's settings and at work."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core.errors import CheckpointError
from lth_core.openmmlab import LTHRunner, PretrainedBackbone
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from .toy_coco import make_coco
from .toy_voc import make_voc

CONFIGS = Path(__file__).parents[2] / "configs"
STARTS = ("imagenet", "moco", "simclr")
DETECTORS = {
    "det": "yolo_resnet50_voc.py",
    "det/coco": "yolo_resnet50_coco.py",
    "det/faster_rcnn": "faster_rcnn_resnet50_voc.py",
    "det/ssd": "ssd_resnet50_voc.py",
}
TICKETS = [f"{folder}/ticket_{start}_90.py" for folder in DETECTORS for start in STARTS]
DENSE = [f"{folder}/dense_{start}.py" for folder in DETECTORS for start in STARTS]
WHOLE = [f"{folder}/{name}" for folder, name in DETECTORS.items()]
IMP = [f"imp/{folder}/{start}.py" for folder in DETECTORS for start in STARTS]
IMP += [f"imp/det/{start}_code.py" for start in STARTS]

ON_DIGITS = ("det/digits_fcos.py", "det/study/scenes_fcos.py")
"""With tests of their own."""

IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
PIXELS = {"imagenet": IMAGENET, "moco": IMAGENET, "simclr": ([0, 0, 0], [255, 255, 255])}
"""What the weights were trained on (papers.md, A.4, items 4 and 17), R, G, B out of 255."""

TABLE: dict[str, tuple[str, int, int, float, float, int]] = {
    # length, batch size, rate, weight decay, smaller side of the pictures
    "det": ("max_epochs", 50, 8, 1e-4, 5e-4, 416),
    "det/faster_rcnn": ("max_iters", 24_000, 4, 5e-3, 1e-4, 600),
    "det/ssd": ("max_iters", 120_000, 32, 1e-3, 5e-4, 300),
}
"""papers.md, A.3: table 1 and the appendix."""


def read(config: str) -> Config:
    return load_config(str(CONFIGS / config))


def start_of(config: str) -> str:
    return next(start for start in STARTS if start in config)


def test_every_shipped_config_is_in_these_tests() -> None:
    found = [p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("det/**/*.py")]
    found += [p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("imp/det/**/*.py")]
    assert sorted(found) == sorted([*TICKETS, *DENSE, *WHOLE, *IMP, *ON_DIGITS])


@pytest.mark.parametrize("folder", TABLE)
def test_settings_are_the_papers(folder: str) -> None:
    unit, length, batch, rate, decay, size = TABLE[folder]
    cfg = read(f"{folder}/{DETECTORS[folder]}")
    assert cfg.train_cfg[unit] == length
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr == {"enable": False, "base_batch_size": batch}
    assert cfg.optim_wrapper.optimizer == {
        "type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": decay
    }  # fmt: skip
    resize = next(t for t in cfg.val_dataloader.dataset.pipeline if t.type == "Resize")
    assert min(resize.scale) == size
    # Training on 07 and 12 trainval, testing on 07 test, measured as VOC 2007 was.
    node = cfg.train_dataloader.dataset
    while "datasets" not in node:
        node = node.dataset
    assert [d.data_prefix.sub_data_root for d in node.datasets] == ["VOC2007/", "VOC2012/"]
    assert all(d.ann_file.endswith("Main/trainval.txt") for d in node.datasets)
    assert cfg.test_dataloader.dataset.ann_file == "VOC2007/ImageSets/Main/test.txt"
    assert cfg.val_evaluator.iou_thrs == pytest.approx([0.5 + 0.05 * k for k in range(10)])
    assert cfg.val_evaluator.eval_mode == "11points"
    assert cfg.randomness.seed == 10
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.depth, backbone.frozen_stages) == ("ResNet", 50, -1)
    assert (
        cfg.model.get("roi_head", {}).get("bbox_head", cfg.model.get("bbox_head")).num_classes == 20
    )


def test_schedules_are_the_papers() -> None:
    cosine = read("det/yolo_resnet50_voc.py").param_scheduler[-1]
    assert (cosine.type, cosine.eta_min, cosine.end) == ("CosineAnnealingLR", 1e-6, 50)
    (poly,) = read("det/faster_rcnn/faster_rcnn_resnet50_voc.py").param_scheduler
    assert (poly.type, poly.power, poly.end, poly.by_epoch) == ("PolyLR", 0.9, 24_000, False)
    (steps,) = read("det/ssd/ssd_resnet50_voc.py").param_scheduler
    assert (steps.type, steps.gamma, steps.by_epoch) == ("MultiStepLR", 0.1, False)
    assert steps.milestones == [80_000, 110_000]


def test_augmentation_is_the_papers() -> None:
    outer = read("det/yolo_resnet50_voc.py").train_dataloader.dataset
    assert outer.pipeline[0] == {"type": "BetaMixUp", "prob": 0.5, "alpha": 1.5}
    flip, crop, move, resize, pad = outer.dataset.pipeline
    assert (flip.type, flip.prob) == ("RandomFlip", 0.5)
    assert (crop.transforms[0].type, crop.prob) == ("MinIoURandomCrop", 0.5)
    assert (move.type, move.prob) == ("RandomShift", 0.5)
    assert (resize.scale, resize.keep_ratio) == ((416, 416), True)
    assert (pad.size, pad.pad_val) == ((416, 416), {"img": (128, 128, 128)})
    test = read("det/yolo_resnet50_voc.py").model.test_cfg
    assert (test.conf_thr, test.nms.iou_threshold) == (0.005, 0.45)


@pytest.mark.parametrize("config", [*TICKETS, *DENSE, *IMP])
def test_pixels_follow_the_weights(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_TICKETS", "kept")
    monkeypatch.setenv("LTH_WEIGHTS", "published")
    cfg = read(config)
    start = start_of(config)
    pixels = cfg.model.data_preprocessor
    assert (pixels["mean"], pixels["std"], pixels.bgr_to_rgb) == (*PIXELS[start], True)
    if config in TICKETS:
        name = start.replace("moco", "mocov2")
        assert cfg.ticket == {"path": f"kept/resnet50_{name}_level10.safetensors"}
        assert "init_cfg" not in cfg.model.backbone
    else:
        assert "ticket" not in cfg
        assert cfg.model.backbone.init_cfg.type == "PretrainedBackbone"
        assert cfg.model.backbone.init_cfg.checkpoint == cfg.pretrained_weights
        assert cfg.pretrained_weights.startswith("published/")


def test_the_dense_twin_differs_in_its_start_alone() -> None:
    for folder in DETECTORS:
        for start in STARTS:
            ticket = read(f"{folder}/ticket_{start}_90.py").to_dict()
            dense = read(f"{folder}/dense_{start}.py").to_dict()
            del dense["model"]["backbone"]["init_cfg"], ticket["ticket"], ticket["runner_type"]
            assert dense == ticket


@pytest.mark.parametrize("config", IMP)
def test_rounds_are_the_papers(config: str) -> None:
    cfg = read(config)
    settings = parse_imp(cfg.imp.to_dict())
    assert (settings.rounds, settings.amount, settings.rewind) == (18, 0.2, "pretrained")
    assert not settings.stem
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
    state = set(model.state_dict())
    kept = {name for name in state if settings.keeps(name)}
    if config.endswith("_code.py"):  # section A.4, item 14: only pruned convolutions go back
        assert state - kept == set(lth.prunable(model))
        assert len(state - kept) == 52
    else:
        assert not kept


# At work ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_coco(root)
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
    """The config with a narrow model, two iterations and, where it may, small pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(data))
        cfg = read(config)
    model = cfg.model
    model.backbone.update(base_channels=8, stem_channels=8)
    if "ssd" in config:
        model.neck.update(in_channels=(64, 256), out_channels=(64, 256, 512, 256, 256, 256))
        model.bbox_head.in_channels = (64, 256, 512, 256, 256, 256)
    elif "faster_rcnn" in config:
        model.neck.in_channels = [32, 64, 128, 256]
        resize = [cfg.train_dataloader.dataset.pipeline[0], cfg.val_dataloader.dataset.pipeline[1]]
        for each in resize:
            each.scale = (96, 96)
    else:
        model.neck[0].channels = 256
        model.neck[1].in_channels = [64, 128, 256]
        train, val = (
            cfg.train_dataloader.dataset.dataset.pipeline,
            cfg.val_dataloader.dataset.pipeline,
        )
        for resize, pad in (train[-2:], val[1:3]):
            resize.scale = pad.size = (96, 96)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = 1 if "coco" in config else 2
    if cfg.train_cfg.type == "EpochBasedTrainLoop":
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
    else:
        cfg.train_cfg.update(max_iters=2, val_interval=2)
    if "iou_thrs" in cfg.val_evaluator:
        cfg.val_evaluator.iou_thrs = [0.5, 0.75]
    if "ticket" in cfg:
        cfg.ticket.path = str(pretrained / "ticket.safetensors")
    if "init_cfg" in model.backbone:
        model.backbone.init_cfg.checkpoint = str(pretrained / "theta.pth")
    if "imp" in cfg:
        cfg.imp.rounds = 1
        cfg.optim_wrapper.optimizer.lr = 1e-3
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    return cfg


QUICK = (
    "det/ticket_moco_90.py",
    "det/coco/ticket_moco_90.py",
    "det/faster_rcnn/ticket_moco_90.py",
    "det/ssd/dense_simclr.py",
)


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
    assert runner.iter >= 2
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar("train/loss").current()))
    name = "val/coco/bbox_mAP" if "coco" in config else "val/pascal_voc/mAP"
    assert -1 <= runner.message_hub.get_scalar(name).current() <= 1
    if config in TICKETS:
        masks = lth.Ticket.load(pretrained / "ticket.safetensors").masks
        state = runner.model.backbone.state_dict()
        assert all(not state[name][~mask].any() for name, mask in masks.items())
        assert masks.sparsity == pytest.approx(0.488, abs=1e-4)
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
    weights = start.weights or {}
    for name, mask in start.masks.items():
        assert torch.equal(weights[name], theta[name].masked_fill(~mask, 0))
    rewound = {name for name in ("conv1.weight", "bn1.running_mean", "layer4.2.bn3.bias",
                                 "layer1.0.downsample.1.running_var")
               if torch.equal(weights[name], theta[name])}  # fmt: skip
    assert len(rewound) == (0 if config.endswith("_code.py") else 4)


def test_weights_that_do_not_fit_are_refused(pretrained: Path, tmp_path: Path) -> None:
    wider = ResNet(50, base_channels=16, stem_channels=16)
    with pytest.raises(CheckpointError, match=r"theta.pth does not fit"):
        PretrainedBackbone(str(pretrained / "theta.pth"))(wider)
    with pytest.raises(lth.LTHError, match=r"none.pth"):
        PretrainedBackbone(str(tmp_path / "none.pth"))(wider)


def test_the_random_control_of_the_docs(data: Path, pretrained: Path, tmp_path: Path) -> None:
    cfg = small("det/ticket_moco_90.py", data, pretrained, tmp_path)
    docs = (CONFIGS.parent / "docs/detection.md").read_text()
    published = "weights/moco_v2_800ep_pretrain.pth.tar"
    assert f"--cfg-options ticket.variant=random ticket.weights={published}" in docs
    weights = str(pretrained / "theta.pth")
    cfg.merge_from_dict({"ticket.variant": "random", "ticket.weights": weights})
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    state = runner.model.backbone.state_dict()
    masks = lth.Ticket.load(pretrained / "ticket.safetensors").masks
    kept = lth.MaskSet({name: state[name] != 0 for name in masks})
    assert (kept.kept, kept.total) == (masks.kept, masks.total)
    assert 0.2 < kept.iou(masks) < 0.5  # two independent masks of density .512 have .344
