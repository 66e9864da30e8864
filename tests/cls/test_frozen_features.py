"""Linear classifiers on frozen features, and fine-tuning on VOC 2007: paper B, Figs. 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from lth_core.errors import RunError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp
from mmengine.config import Config
from mmpretrain.datasets.categories import PLACES205_CATEGORIES
from mmpretrain.registry import MODELS
from PIL import Image

from .toy_imagenet import FEATURES, WIDTH, make_imagenet, narrow_backbone, under
from .toy_voc07 import make_voc07

CONFIGS = Path(__file__).parents[2] / "configs"
GOYAL = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}


def make_places205(root: Path, images: int = 8) -> Path:
    """Places205 as it is unpacked, with all of its classes and few pictures."""
    base = root / "places205"
    lists = base / "trainvalsplit_places205"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        lines = []
        for index in range(images):
            name = f"{PLACES205_CATEGORIES[index].replace(' ', '_')}/{split}_{index}.jpg"
            file = base / "data/vision/torralba/deeplearning/images256" / name[0] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (36, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
            lines.append(f"{name[0]}/{name} {index}\n")
        (lists / f"{split}_places205.csv").write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny data, and ``pruned.pth``, a narrow ResNet-50 with zeros, under ``mask.safetensors``."""
    root = tmp_path_factory.mktemp("features")
    for make in (make_imagenet, make_places205, make_voc07):
        make(root)
    backbone = narrow_backbone()
    torch.manual_seed(0)
    convolutions = [name for name, tensor in backbone.items() if tensor.dim() == 4]
    masks = lth.MaskSet({name: torch.rand(backbone[name].shape) < 0.4 for name in convolutions})
    for name, mask in masks.items():
        backbone[name] *= mask
    torch.save({"state_dict": under("backbone.", backbone)}, root / "pruned.pth")
    lth.Ticket(masks).save(root / "mask.safetensors")
    return root


def small(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A config on the tiny data, from ``pruned.pth``: narrow, 32 pixels, batches of 4."""
    monkeypatch.setenv("LTH_DATA_ROOT", str(root))
    cfg = load_config(str(CONFIGS / f"{name}.py"))
    cfg.model.backbone.update(stem_channels=WIDTH, base_channels=WIDTH)
    if cfg.model.backbone.init_cfg:
        cfg.model.backbone.init_cfg.checkpoint = str(root / "pruned.pth")
    cfg.model.head.in_channels = FEATURES
    if isinstance(cfg.model.neck, list):
        cfg.model.neck[1].input_features = FEATURES
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:
            if "scale" in step:
                step.scale = 36 if step.type == "ResizeEdge" else 32
            if "crop_size" in step:
                step.crop_size = 32
    cfg.log_level = "ERROR"
    return cfg


def short(cfg: Config, work_dir: Path, **changes: Any) -> Config:
    """Three iterations with a validation and a checkpoint after each."""
    cfg.train_cfg.update(max_iters=3, val_interval=1)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict(changes)
    return cfg


# The recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "classes"), [("imagenet", 1000), ("places205", 205)])
def test_linear_classifiers_are_goyals(
    name: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = load_config(str(CONFIGS / f"cls/{name}/linear_resnet50.py"))
    assert dict(cfg.optim_wrapper.optimizer) == GOYAL
    assert (cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size) == (140_000, 256)
    (steps,) = cfg.param_scheduler
    assert (steps.milestones, steps.gamma, steps.by_epoch) == (
        [40_000, 80_000, 120_000],
        0.1,
        False,
    )
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes
    model = MODELS.build(cfg.model)
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    # Batch norm has neither scale nor shift.
    assert trained == {"head.fc.weight": 2048 * classes, "head.fc.bias": classes}
    monkeypatch.setenv("WORLD_SIZE", "8")
    split = load_config(str(CONFIGS / f"cls/{name}/linear_resnet50.py"))
    assert split.train_dataloader.batch_size == 32


@pytest.mark.parametrize("name", ["cls/voc07/finetune_resnet50", "imp/voc07/resnet50"])
def test_fine_tuning_is_the_papers(name: str) -> None:
    cfg = load_config(str(CONFIGS / f"{name}.py"))
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (90, 128)
    optimizer = dict(cfg.optim_wrapper.optimizer)
    assert optimizer == {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-6}
    (steps,) = cfg.param_scheduler
    assert (steps.milestones, steps.gamma, steps.by_epoch) == ([50, 65, 80], 0.1, True)
    assert cfg.train_dataloader.dataset.split == "trainval"
    assert cfg.val_dataloader.dataset.split == "test"
    assert [step.type for step in cfg.val_dataloader.dataset.pipeline][1:3] == [
        "ResizeEdge",
        "CenterCrop",
    ]
    assert cfg.model.head.type == "MultiLabelLinearClsHead"


def test_pruning_in_transfer_prunes_all_but_the_last_layer() -> None:
    settings = parse_imp(load_config(str(CONFIGS / "imp/voc07/resnet50.py")).imp)
    assert (settings.rounds, settings.amount, settings.stem) == (30, 0.2, True)
    assert (settings.rewind, settings.rewind_at) == ("pretrained", None)
    assert settings.kinds == ("conv", "linear")


# At work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet", "places205"])
def test_the_backbone_keeps_every_bit_and_the_head_learns(
    name: str, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = short(small(f"cls/{name}/linear_resnet50", roots, monkeypatch), tmp_path)
    runner = LTHRunner.from_cfg(cfg)
    before = {n: t.clone() for n, t in runner.model.state_dict().items() if "head" in n}
    runner.train()
    assert not runner.model.backbone.training
    saved = torch.load(tmp_path / "iter_3.pth", weights_only=True)["state_dict"]
    start = torch.load(roots / "pruned.pth", weights_only=True)["state_dict"]
    assert {n for n in saved if n.startswith("backbone.")} == start.keys()
    for key, tensor in start.items():
        assert torch.equal(saved[key], tensor), key
    assert all(not torch.equal(saved[n], tensor) for n, tensor in before.items())
    assert int(saved["neck.1.bn.num_batches_tracked"]) == 3


def test_a_mask_may_stand_beside_the_checkpoint(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small("cls/imagenet/linear_resnet50", roots, monkeypatch)
    cfg.model.backbone.init_cfg = None
    ticket = {"path": str(roots / "mask.safetensors"), "weights": str(roots / "pruned.pth")}
    LTHRunner.from_cfg(short(cfg, tmp_path, ticket=ticket)).train()
    saved = torch.load(tmp_path / "iter_3.pth", weights_only=True)["state_dict"]
    start = torch.load(roots / "pruned.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(saved[key], tensor) for key, tensor in start.items())


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        ("ImageClassifier", "conv1.weight, bn1.weight, bn1.bias"),
        ("FrozenBackboneClassifier", "conv1.weight"),
    ],
)
def test_a_backbone_that_changes_is_noticed(
    model: str, changed: str, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = short(small("cls/imagenet/linear_resnet50", roots, monkeypatch), tmp_path)
    cfg.model.type = model
    runner = LTHRunner.from_cfg(cfg)
    if model == "FrozenBackboneClassifier":  # one bit, behind its back
        step = runner.model.train_step

        def train_step(*args: Any, **kwargs: Any) -> Any:
            runner.model.backbone.conv1.weight.data.view(torch.int32)[0, 0, 0, 0] ^= 1
            return step(*args, **kwargs)

        monkeypatch.setattr(runner.model, "train_step", train_step)
    with pytest.raises(RunError, match=f"{changed}.* changed; use the model"):
        runner.train()
    assert not list(tmp_path.glob("*.pth"))


def one_epoch(cfg: Config, work_dir: Path) -> Config:
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.train_dataloader.batch_size = 27
    cfg.train_dataloader.dataset.indices = 54
    cfg.work_dir = str(work_dir)
    return cfg


def test_fine_tuning_from_a_level_of_the_pre_training(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = one_epoch(small("cls/voc07/finetune_pruned_resnet50", roots, monkeypatch), tmp_path)
    cfg.ticket.update(path=str(roots / "mask.safetensors"), weights=str(roots / "pruned.pth"))
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    metrics = runner.metrics.last
    assert metrics.keys() >= {"voc/mAP", "voc/mAP_11points"}
    assert 0 < metrics["voc/mAP"] <= 100
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["state_dict"]
    start = torch.load(roots / "pruned.pth", weights_only=True)["state_dict"]
    masks = lth.Ticket.load(roots / "mask.safetensors").masks
    for name, mask in masks.items():
        weight = saved[f"backbone.{name}"]
        assert bool((weight[~mask] == 0).all())
        assert not torch.equal(weight, start[f"backbone.{name}"])


def test_rounds_on_voc_start_from_the_pre_trained_weights(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = one_epoch(small("imp/voc07/resnet50", roots, monkeypatch), tmp_path)
    cfg.imp.rounds = 1
    results = LTHRunner.from_cfg(cfg).train()
    assert [result.sparsity for result in results] == pytest.approx([0, 0.2], abs=1e-4)
    ticket = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors")
    assert {"conv1.weight", "layer4.2.conv3.weight"} <= ticket.masks.keys()
    start = lth.load_backbone(roots / "pruned.pth")
    assert ticket.weights is not None
    for name, mask in ticket.masks.items():
        assert torch.equal(ticket.weights[name], start[name] * mask)
