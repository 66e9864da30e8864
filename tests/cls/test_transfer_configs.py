"""Paper A's downstream tasks: every shipped config, against the paper's settings and at work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
import torchvision
from lth_cls.best_epoch import LEVEL_METRIC, RESULT
from lth_core.cli import main
from lth_core.errors import CheckpointError, ConfigError, RunError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp
from lth_core.weights import snapshot
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from PIL import Image

from .small_data import WRITERS

CONFIGS = Path(__file__).parents[2] / "configs"
TASKS = ("cifar10", "cifar100", "svhn", "fashion_mnist", "visda2017")
STARTS = ("lt", "rewind_lt", "pt", "pt_trans")
CLS = [
    f"cls/{task}/{name}.py" for task in TASKS for name in ("resnet50", "resnet50_code", "ticket")
]
IMP = [f"imp/downstream/{task}_{start}.py" for task in TASKS for start in STARTS]
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def read(config: str) -> Config:
    return load_config(str(CONFIGS / config))


def test_every_shipped_config_is_in_these_tests() -> None:
    found = {p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("imp/downstream/*.py")}
    for task in TASKS:
        found |= {p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob(f"cls/{task}/*.py")}
    assert found == {*CLS, *IMP}


# The paper's settings -----------------------------------------------------------------------------

# Transcribed from the paper: Table 1 and the data details of its code (papers.md, section A.3).
TABLE = {
    # task: classes, epochs, batch, rate, steps, weight decay, pixels' mean and std, augmentation
    "cifar10": (10, 182, 256, 0.1, [91, 136], 2e-4,
                (.4914, .4822, .4465), (.2023, .1994, .2010), ["RandomCrop", "RandomFlip"]),
    "cifar100": (100, 182, 256, 0.1, [91, 136], 2e-4,
                 (.5071, .4866, .4409), (.2009, .1984, .2023), ["RandomCrop", "RandomFlip"]),
    "svhn": (10, 182, 256, 0.1, [91, 136], 2e-4,
             (.4377, .4438, .4728), (.1201, .1231, .1052), []),
    "fashion_mnist": (10, 182, 256, 0.1, [91, 136], 2e-4, (.1436,), (.1609,), []),
    "visda2017": (12, 20, 128, 1e-3, [10], 5e-4,
                  (.485, .456, .406), (.229, .224, .225),
                  ["LoadImageFromFile", "RandomResizedCrop", "RandomFlip"]),
}  # fmt: skip


@pytest.mark.parametrize("config", [*CLS, *IMP])
def test_settings_are_the_papers(config: str) -> None:
    cfg = read(config)
    task = next(t for t in TASKS if f"/{t}/" in config or f"/{t}_" in config)
    classes, epochs, batch, rate, steps, decay, mean, std, augmentation = TABLE[task]
    code = config.endswith("_code.py")
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes
    assert cfg.train_cfg == {"by_epoch": True, "max_epochs": epochs, "val_interval": 1}
    assert cfg.optim_wrapper == {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": decay},
    }
    *warm_up, step_down = cfg.param_scheduler
    assert step_down == {
        "type": "MultiStepLR", "by_epoch": True, "milestones": steps, "gamma": 0.1
    }  # fmt: skip
    # The code's own: one epoch of warm-up on small pictures, 256 pictures a batch on VisDA.
    assert len(warm_up) == (code and task != "visda2017")
    for warm in warm_up:
        assert (warm.type, warm.begin, warm.end) == ("LinearLR", 0, 1)
        assert warm.convert_to_iter_based
    for loader in LOADERS:
        assert cfg[loader].batch_size == (256 if code else batch)
        assert cfg[loader].sampler.shuffle == (loader == "train_dataloader")
        assert cfg[loader].get("drop_last", False) == (loader == "train_dataloader")
    assert cfg.data_preprocessor.mean == pytest.approx([255 * value for value in mean])
    assert cfg.data_preprocessor.std == pytest.approx([255 * value for value in std])
    assert cfg.data_preprocessor.to_rgb == (task == "visda2017")
    pipelines = [cfg[loader].dataset.pipeline for loader in LOADERS]
    assert [t.type for t in pipelines[0]] == [*augmentation, "PackInputs"]
    assert pipelines[1] == pipelines[2]
    settings = {t.type: t for t in pipelines[0]}
    if "RandomFlip" in settings:
        assert settings["RandomFlip"].prob == 0.5
    if "RandomCrop" in settings:
        assert (settings["RandomCrop"].crop_size, settings["RandomCrop"].padding) == (32, 4)
    if task == "visda2017":
        crop = settings["RandomResizedCrop"]
        assert (crop.scale, crop.crop_ratio_range) == (224, (0.75, 1.33))
        assert [t.type for t in pipelines[1]] == ["LoadImageFromFile", "Resize", "PackInputs"]
        assert pipelines[1][1].scale == (224, 224)
        # Its validation list is what is reported, too.
        assert [cfg[loader].dataset.domain for loader in LOADERS] == [
            "train", "validation", "validation"
        ]  # fmt: skip
    else:
        assert [t.type for t in pipelines[1]] == ["PackInputs"]
        assert [cfg[loader].dataset.part for loader in LOADERS] == ["train", "val", "test"]
        assert [cfg[loader].dataset.get("val_last") for loader in LOADERS[:2]] == [5000, 5000]
    stem = "ResNet" if task == "visda2017" else "ResNet_CIFAR"
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == (stem, 50)
    assert cfg.model.backbone.get("in_channels", 3) == (1 if task == "fashion_mnist" else 3)
    assert cfg.val_evaluator == cfg.test_evaluator == {"type": "Accuracy", "topk": (1,)}
    assert cfg.default_hooks.checkpoint.save_best == "accuracy/top1"
    assert [hook.type for hook in cfg.custom_hooks] == ["TestAtBestValHook"]


@pytest.mark.parametrize("config", IMP)
def test_rounds_are_the_papers(config: str) -> None:
    cfg = read(config)
    start = next(s for s in sorted(STARTS, key=len, reverse=True) if config.endswith(f"_{s}.py"))
    imp = parse_imp(cfg.imp)
    assert (imp.rounds, imp.amount, imp.stem, imp.kinds) == (18, 0.2, False, ("conv",))
    assert (imp.criterion, imp.allocation, imp.first_prune) == ("magnitude", "global", "after")
    assert imp.carried == imp.keep == ()  # a fresh optimizer and the full schedule each round
    rewind = {"lt": "init", "rewind_lt": "early", "pt": "dense", "pt_trans": "pretrained"}[start]
    assert (imp.rewind, imp.rewind_at) == (rewind, "5%" if start == "rewind_lt" else None)
    init = cfg.model.backbone.get("init_cfg")
    assert (init is not None) == (start == "pt_trans")
    if init is not None:
        assert init.get("leave", []) == ([] if "visda" in config else ["conv1.weight"])


@pytest.mark.parametrize("task", TASKS)
def test_tickets_go_in_but_for_the_stem(task: str) -> None:
    ticket = read(f"cls/{task}/ticket.py").ticket
    assert ticket.get("partial", False) == (task != "visda2017")


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
@pytest.mark.parametrize("config", [c for c in CLS if "cifar10/" in c or "visda" in c])
def test_rates_epoch_by_epoch(config: str, data: Path, pretrained: Path, tmp_path: Path) -> None:
    shipped = read(config).train_cfg
    cfg = small(config, data, pretrained, tmp_path, train_cfg=shipped)
    runner = LTHRunner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    assert len(runner.train_loop.dataloader) == 2
    schedulers = runner.build_param_scheduler(cfg.param_scheduler)
    rates = []
    for _ in range(shipped.max_epochs):
        for _ in range(2):
            rates.append(runner.optim_wrapper.get_lr()["lr"][0])
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    if "visda" in config:
        want = [1e-3] * 10 + [1e-4] * 10
    else:
        want = [0.1] * 91 + [0.01] * 45 + [0.001] * 46
    twice = [rate for rate in want for _ in range(2)]
    if config == "cls/cifar10/resnet50_code.py":
        assert rates[0] == pytest.approx(0.1 * 1e-4)
        assert rates[1] == pytest.approx(0.1)  # the last iteration of the first epoch
        twice[0] = rates[0]
    assert rates == pytest.approx(twice)


# The networks -------------------------------------------------------------------------------------


def build_model(cfg: Config) -> Any:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize("task", TASKS)
def test_all_but_the_stem_has_torchvisions_names_and_shapes(task: str) -> None:
    backbone = build_model(read(f"cls/{task}/resnet50.py")).backbone
    with torch.device("meta"):
        theirs = torchvision.models.resnet50().state_dict()
    want = {n: tuple(t.shape) for n, t in theirs.items() if not n.startswith("fc.")}
    if task != "visda2017":
        want["conv1.weight"] = (64, 1 if task == "fashion_mnist" else 3, 3, 3)
        assert (backbone.conv1.stride, backbone.conv1.padding) == ((1, 1), (1, 1))
    assert {n: tuple(t.shape) for n, t in backbone.state_dict().items()} == want
    assert sum(
        p.numel() for n, p in backbone.named_parameters() if n in lth.prunable(backbone)
    ) == (23_445_504)


def test_same_features_as_torchvisions_without_its_stem() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50()
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = theirs.fc = torch.nn.Identity()
    model = build_model(read("cls/cifar10/resnet50.py"))
    model.backbone.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        ours = model.eval().extract_feat(images)[0]
        assert torch.allclose(ours, theirs.eval()(images), atol=1e-4)


# At work, an eighth as wide -----------------------------------------------------------------------


class NarrowResNet50(torchvision.models.ResNet):
    """torchvision's ResNet-50 with 8 channels for its 64."""

    def __init__(self) -> None:
        super().__init__(torchvision.models.resnet.Bottleneck, [3, 4, 6, 3], width_per_group=64)
        for name, module in list(self.named_modules()):
            parent = self.get_submodule(name.rpartition(".")[0])
            if isinstance(module, torch.nn.Conv2d):
                channels = 3 if name == "conv1" else module.in_channels // 8
                new = torch.nn.Conv2d(
                    channels,
                    module.out_channels // 8,
                    module.kernel_size,
                    module.stride,
                    module.padding,
                    bias=False,
                )
                setattr(parent, name.rpartition(".")[2], new)
            elif isinstance(module, torch.nn.BatchNorm2d):
                norm = torch.nn.BatchNorm2d(module.num_features // 8)
                torch.nn.init.uniform_(norm.running_mean)
                torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
                setattr(parent, name.rpartition(".")[2], norm)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for write in WRITERS.values():
        write(root)
    return root


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """θ_P: a checkpoint as torchvision publishes them, and its ticket at level 10 beside it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    model = NarrowResNet50()
    torch.save(model.state_dict(), folder / "theta.pth")
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    lth.Ticket(masks, model.state_dict(), {"level": 0}).save(folder / "dense.safetensors")
    for _ in range(10):
        masks = lth.prune(model, masks, amount=0.2)
    lth.Ticket(masks, model.state_dict(), {"level": 10}).save(folder / "ticket.safetensors")
    return folder


def small(config: str, data: Path, pretrained: Path, work_dir: Path, **options: Any) -> Config:
    """The config with a narrow model and two iterations an epoch on the small data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(data))
        cfg = read(config)
    shrink(cfg, work_dir)
    for loader in LOADERS:
        cfg[loader].dataset.verify = False
        if "val_last" in cfg[loader].dataset:
            cfg[loader].dataset.val_last = 4
    if "ticket" in cfg:
        cfg.ticket.path = str(pretrained / "ticket.safetensors")
    if cfg.model.backbone.get("init_cfg"):
        cfg.model.backbone.init_cfg.checkpoint = str(pretrained / "theta.pth")
    if "imp" in cfg:
        cfg.imp.rounds = 1
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    return cfg


def shrink(cfg: Config, work_dir: Path) -> None:
    """Makes the network narrow and an epoch two iterations long."""
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.head.in_channels = 256
    for loader in LOADERS:
        cfg[loader].update(batch_size=4, num_workers=0, persistent_workers=False)
        cfg[loader].dataset.indices = 8
    cfg.train_cfg.max_epochs = 1
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)


def train(cfg: Config) -> Any:
    runner = LTHRunner.from_cfg(cfg)
    return runner, runner.train()


QUICK = ["cls/cifar100/resnet50_code.py", "cls/fashion_mnist/ticket.py", "cls/visda2017/ticket.py"]


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=() if c in QUICK else pytest.mark.long) for c in CLS]
)
def test_trains_two_iterations_and_is_tested(
    config: str, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    runner, _ = train(small(config, data, pretrained, tmp_path))
    assert runner.iter == 2
    result = json.loads((tmp_path / RESULT).read_text())
    assert result["epoch"] == 1
    assert 0 <= result["test"] <= 100
    if config.endswith("ticket.py"):
        ticket = lth.Ticket.load(pretrained / "ticket.safetensors")
        state = runner.model.backbone.state_dict()
        for name, mask in ticket.masks.items():
            assert not state[name][~mask].any()
        assert sum(int(state[n].count_nonzero()) for n in ticket.masks) == ticket.masks.kept


@pytest.mark.long
@pytest.mark.parametrize("config", IMP)
def test_finds_tickets_in_one_round(
    config: str, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    _, levels = train(small(config, data, pretrained, tmp_path))
    assert [round(level.sparsity, 4) for level in levels] == [0, 0.2]
    assert all(LEVEL_METRIC in level.metrics for level in levels)


def test_a_transferred_ticket_brings_everything_but_stem_and_head(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    cfg = small("cls/cifar10/ticket.py", data, pretrained, tmp_path)
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.model.backbone.norm_eval = True
    runner, _ = train(cfg)
    ticket = lth.Ticket.load(pretrained / "ticket.safetensors")
    state = runner.model.backbone.state_dict()
    for name, tensor in (ticket.weights or {}).items():
        if name == "conv1.weight":
            assert state[name].shape == (8, 3, 3, 3)
        elif not name.startswith("fc."):
            assert torch.equal(state[name], tensor), name
    kept = sum(int(state[name].count_nonzero()) for name in ticket.masks)
    assert kept == ticket.masks.kept


def level_start(work_dir: Path, level: int) -> dict[str, torch.Tensor]:
    return lth.Ticket.load(work_dir / f"level_{level:02d}" / "ticket.safetensors").weights or {}


def test_two_rounds_from_pre_trained_weights(data: Path, pretrained: Path, tmp_path: Path) -> None:
    cfg = small("imp/downstream/cifar10_pt_trans.py", data, pretrained, tmp_path, imp__rounds=2)
    _, levels = train(cfg)
    total = levels[0] and lth.Ticket.load(tmp_path / "level_00" / "ticket.safetensors").masks.total
    kept = [total]
    for _ in range(2):
        kept.append(kept[-1] - round(0.2 * kept[-1]))
    theta = torch.load(pretrained / "theta.pth")
    for k, level in enumerate(levels):
        ticket = lth.Ticket.load(tmp_path / f"level_{k:02d}" / "ticket.safetensors")
        assert ticket.masks.kept == kept[k]
        assert (
            level.metrics[LEVEL_METRIC]
            == json.loads((tmp_path / f"level_{k:02d}" / RESULT).read_text())["test"]
        )
        weights = ticket.weights or {}
        for name, mask in ticket.masks.items():
            assert torch.equal(weights[name], theta[name].masked_fill(~mask, 0))
        for name in ("bn1.running_mean", "layer4.2.bn3.weight", "layer4.2.bn3.running_mean"):
            assert torch.equal(weights[name], theta[name])
        # The stem is random, and the same in each round.
        assert torch.equal(weights["conv1.weight"], level_start(tmp_path, 0)["conv1.weight"])
        assert weights["conv1.weight"].shape == (8, 3, 3, 3)
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert LEVEL_METRIC in header


@pytest.mark.long
def test_rewinding_to_the_dense_result_takes_its_best_epoch(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    cfg = small("imp/downstream/cifar10_pt.py", data, pretrained, tmp_path)
    cfg.train_cfg.max_epochs = 3
    train(cfg)
    best = next((tmp_path / "level_00").glob("best_*.pth"))
    state = torch.load(best, weights_only=True)["state_dict"]
    start = level_start(tmp_path, 1)
    assert torch.equal(start["bn1.running_mean"], state["backbone.bn1.running_mean"])
    assert torch.equal(start["conv1.weight"], state["backbone.conv1.weight"])


@pytest.mark.long
def test_random_pruning_of_any_start(data: Path, pretrained: Path, tmp_path: Path) -> None:
    options = {"imp__criterion": "random", "imp__seed": 3}
    for name in ("magnitude", "random"):
        cfg = small(
            "imp/downstream/svhn_lt.py", data, pretrained, tmp_path / name,
            **(options if name == "random" else {}),
        )  # fmt: skip
        train(cfg)
    masks = [
        lth.Ticket.load(tmp_path / name / "level_01" / "ticket.safetensors").masks
        for name in ("magnitude", "random")
    ]
    assert masks[0].kept == masks[1].kept
    density = masks[1].sparsity
    assert all(abs(s - density) < 0.12 for s in masks[1].layer_sparsity().values())
    assert masks[0].iou(masks[1]) < 0.75


@pytest.mark.parametrize("variant", ["complement", "random", "perturb"])
def test_variants_of_a_task_specific_ticket(
    variant: str, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Fig. 8: another mask on the same start, which is that of level 0."""
    found = lth.Ticket.load(pretrained / "ticket.safetensors")
    cfg = small("cls/cifar10/ticket.py", data, pretrained, tmp_path)
    cfg.ticket.update(weights=str(pretrained / "dense.safetensors"), variant=variant)
    runner, _ = train(cfg)
    state = runner.model.backbone.state_dict()
    kept = sum(int(state[name].count_nonzero()) for name in found.masks)
    total = found.masks.total
    want = {
        "complement": total - found.masks.kept,
        "random": found.masks.kept,
        "perturb": 0.9 * found.masks.kept + 0.1 * (total - found.masks.kept),
    }[variant]
    assert kept == pytest.approx(want, abs=2)


# Pre-trained weights ------------------------------------------------------------------------------


def test_pre_trained_weights_load_from_a_ticket_too(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    cfg = small("imp/downstream/cifar10_pt_trans.py", data, pretrained, tmp_path)
    cfg.model.backbone.init_cfg.checkpoint = str(pretrained / "ticket.safetensors")
    model = build_model(cfg)
    conv1 = model.backbone.conv1.weight.clone()
    model.init_weights()
    ticket = lth.Ticket.load(pretrained / "ticket.safetensors")
    state = model.backbone.state_dict()
    assert all(torch.equal(state[name], (ticket.weights or {})[name]) for name in ticket.masks)
    assert torch.equal(state["conv1.weight"], conv1)


def test_pre_trained_weights_that_do_not_fit_are_refused(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    cfg = small("imp/downstream/cifar10_pt_trans.py", data, pretrained, tmp_path)
    cfg.model.backbone.init_cfg.leave = []
    with pytest.raises(
        CheckpointError, match=r"conv1.weight is \(8, 3, 7, 7\), not \(8, 3, 3, 3\)"
    ):
        build_model(cfg).init_weights()
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / "none.pth")
    with pytest.raises(lth.LTHError, match=r"none.pth"):
        build_model(cfg).init_weights()


# The best epoch -----------------------------------------------------------------------------------


def learning(data: Path, pretrained: Path, work_dir: Path, epochs: int = 3) -> Config:
    cfg = small("cls/svhn/resnet50.py", data, pretrained, work_dir)
    cfg.train_cfg.max_epochs = epochs
    cfg.optim_wrapper.optimizer.lr = 0.01
    return cfg


@pytest.mark.parametrize("averaged", [False, True])
def test_the_best_epoch_is_tested_and_the_last_weights_stay(
    averaged: bool,
    data: Path,
    pretrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Three validations, and what is then measured on the test set.
    measured = iter([50.0, 80.0, 60.0, 33.0, 60.0, 33.0])
    tested: list[dict[str, torch.Tensor]] = []

    def evaluate(self: Accuracy, size: int) -> dict[str, float]:
        self.results.clear()
        return {"accuracy/top1": next(measured)}

    def test_step(self: BaseModel, batch: Any) -> Any:
        tested.append(snapshot(self))
        return BaseModel.test_step(self, batch)

    monkeypatch.setattr(Accuracy, "evaluate", evaluate)
    monkeypatch.setattr(ImageClassifier, "test_step", test_step, raising=False)

    def config() -> Config:
        cfg = learning(data, pretrained, tmp_path)
        if averaged:
            cfg.custom_hooks.append({"type": "EMAHook", "momentum": 0.3})
        return cfg

    runner, _ = train(config())
    result = json.loads((tmp_path / RESULT).read_text())
    assert (result["epoch"], result["val"], result["test"]) == (2, 80.0, 33.0)
    assert result["checkpoint"] == "best_accuracy_top1_epoch_2.pth"
    best = torch.load(tmp_path / result["checkpoint"], weights_only=True)["state_dict"]
    last = torch.load(tmp_path / "epoch_3.pth", weights_only=True)
    last = last["ema_state_dict" if averaged else "state_dict"]
    last = {name.removeprefix("module."): tensor for name, tensor in last.items()}
    assert tested
    assert all(torch.equal(tested[-1][name], best[name]) for name in best)
    live = snapshot(runner.model)
    assert all(torch.equal(live[name], last[name]) for name in live)
    assert not torch.equal(live["head.fc.weight"], best["head.fc.weight"])

    # After its last epoch a training can be resumed for what was still missing.
    (tmp_path / RESULT).unlink()
    cfg = config()
    cfg.resume = True
    train(cfg)
    assert json.loads((tmp_path / RESULT).read_text()) == result


class Stop(Exception):  # noqa: N818
    """Breaks a training off."""


@pytest.mark.parametrize("kill", ["epoch_2.pth", "best_accuracy_top1_epoch_1.pth"])
def test_a_broken_off_training_reports_the_same(
    kill: str, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    train(learning(data, pretrained, tmp_path / "whole"))
    runner = LTHRunner.from_cfg(learning(data, pretrained, tmp_path / "parts"))
    save = runner.save_checkpoint

    def stop(out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        save(out_dir, filename, *args, **kwargs)
        if filename == kill:
            raise Stop

    runner.save_checkpoint = stop
    with pytest.raises(Stop):
        runner.train()
    (tmp_path / "parts").rename(tmp_path / "moved")
    cfg = learning(data, pretrained, tmp_path / "moved")
    cfg.resume = True
    train(cfg)
    results = [(tmp_path / name / RESULT).read_text() for name in ("whole", "moved")]
    assert results[0] == results[1]


def test_what_cannot_be_reported_is_said_before_training(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    cfg = learning(data, pretrained, tmp_path)
    cfg.default_hooks.checkpoint.save_best = None
    with pytest.raises(
        ConfigError, match=r"set default_hooks.checkpoint.save_best='accuracy/top1'"
    ):
        train(cfg)
    cfg = learning(data, pretrained, tmp_path)
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    with pytest.raises(ConfigError, match="to validate and to test"):
        train(cfg)
    cfg = learning(data, pretrained, tmp_path)
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(lth.LTHError, match=r"test_32x32.mat does not exist"):
        train(cfg)


def test_a_best_checkpoint_that_is_gone_is_said(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    train(learning(data, pretrained, tmp_path, epochs=1))
    next(tmp_path.glob("best_*.pth")).unlink()
    cfg = learning(data, pretrained, tmp_path, epochs=1)
    cfg.resume = True
    with pytest.MonkeyPatch.context() as patch:
        # Going on validates the last epoch again, and would find it the best once more.
        patch.setattr("mmengine.hooks.CheckpointHook._save_best_checkpoint", lambda *a: None)
        with pytest.raises(RunError, match=r"checkpoint of the best validation is gone"):
            train(cfg)


# The command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_data_set_is_one_line(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path / "data"))
    config = str(CONFIGS / f"cls/{task}/resnet50.py")
    assert main(["train", config, "--work-dir", str(tmp_path / "work")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert str(tmp_path / "data" / task) in lines[0]
    assert "download " in lines[0]
    assert "LTH_DATA_ROOT" in lines[0]


# The documentation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"ticket.path": "ticket"}, {"imp.preset": "paper-a-lt", "imp.rounds": 1}]
)
def test_another_data_set_is_one_short_file(
    options: dict[str, Any],
    pretrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path))
    text = (CONFIGS.parent / "docs" / "transfer.md").read_text()
    block = re.search(r"```python\n(# flowers.py\n.*?)```", text, re.S)
    assert block is not None
    assert len(block[1].splitlines()) <= 15
    for part in ("train", "val", "test"):
        for index in range(8):
            place = tmp_path / "flowers" / part / f"kind_{index % 2}" / f"{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 48), (40 * index, 0, 0)).save(place)
    (tmp_path / "flowers.py").write_text(block[1])
    if "ticket.path" in options:
        options = {"ticket.path": str(pretrained / "ticket.safetensors")}
    cfg = load_config(str(tmp_path / "flowers.py"), options)
    assert (cfg.model.head.num_classes, cfg.train_cfg.max_epochs) == (102, 20)
    shrink(cfg, tmp_path / "work")
    _, levels = train(cfg)
    if "imp.rounds" in options:
        assert [round(level.sparsity, 4) for level in levels] == [0, 0.2]
    else:
        assert (tmp_path / "work" / RESULT).is_file()
