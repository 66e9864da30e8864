"""Paper C's recipes: every shipped config, against the released code's settings and at work."""

from __future__ import annotations

import copy
import functools
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
import torchvision
from lth_cls.adversarial.attacks import parse_attack
from lth_cls.adversarial.settings import parse_adversarial
from lth_cls.best_epoch import RESULT, ROBUST_RESULT
from lth_cls.datasets import SplitCIFAR10, SplitSVHN
from lth_core.matching.double_wins import ADVERSARIAL
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop
from mmpretrain.registry import DATASETS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from PIL import Image

from .small_data import WRITERS
from .toy_imagenet import (
    FEATURES,
    WIDTH,
    fast_file,
    make_imagenet,
    robust_file,
    shrink,
    torchvision_file,
)

CONFIGS = Path(__file__).parents[2] / "configs"
TASKS = ("cifar10", "cifar100", "svhn")
KINDS = ("standard", "adversarial")
PORTIONS = ("", "_10pct", "_1pct", "_10pct_file_order", "_1pct_file_order")
CLS = [
    f"cls/paper_c/{task}/resnet50_{kind}{end}"
    for task in TASKS
    for kind in KINDS
    for end in (*PORTIONS, "_ticket")
]
IMP = [f"imp/paper_c/imagenet/resnet50_{kind}" for kind in ("standard", "fast", "pgd_3")]
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
WEIGHTS = {
    "resnet50_linf_eps8.0.ckpt": robust_file,
    "imagenet_model_weights_4px.pth.tar": fast_file,
    "resnet50-0676ba61.pth": torchvision_file,
}
VARIABLES = ("LTH_DATA_ROOT", "LTH_WEIGHTS", "LTH_TICKETS", "WORLD_SIZE")
SA, RA = "accuracy/top1", "accuracy/top1/pgd-20"


def read(config: str) -> Config:
    return copy.deepcopy(_read(config, tuple(map(os.environ.get, VARIABLES))))


@functools.cache
def _read(config: str, variables: tuple[str | None, ...]) -> Config:
    return load_config(str(CONFIGS / f"{config}.py"))


def parts(config: str) -> tuple[str, str, str]:
    """Task, kind of training, and what else its name says."""
    task, name = config.split("/")[2:]
    kind, _, rest = name.removeprefix("resnet50_").partition("_")
    return task, kind, rest


def test_every_shipped_config_is_in_these_tests() -> None:
    found = {p.relative_to(CONFIGS).as_posix()[:-3] for p in CONFIGS.glob("*/paper_c/*/*.py")}
    assert found == {*CLS, *IMP}


# The released code's settings (papers.md, C.2 and C.3; script/*.sh, main_*.py, dataset.py) --------

# The rows of the table of downstream trainings: epochs, rate, decay of the rate, batch.
RECIPES = {
    "standard": (150, 0.001, [50, 100], 64),
    "adversarial": (100, 0.1, [50, 75], 128),
    "adversarial svhn": (80, 0.01, "cosine", 128),
}
# Classes, pixels' mean and standard deviation, and how many train of all training pictures.
DATA = {
    "cifar10": (10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 50_000, 45_000),
    "cifar100": (100, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), 50_000, 45_000),
    "svhn": (10, (0.4377, 0.4438, 0.4728), (0.1201, 0.1231, 0.1052), 73_257, 68_257),
}
# int(45000 * r) and int(68257 * r).
COUNTS = {("cifar", "10"): 4500, ("cifar", "1"): 450, ("svhn", "10"): 6825, ("svhn", "1"): 682}


def recipe(task: str, kind: str) -> tuple[int, float, Any, int]:
    return RECIPES[f"{kind} svhn" if (task, kind) == ("svhn", "adversarial") else kind]


@pytest.mark.parametrize("config", CLS)
def test_downstream_settings_are_the_papers(config: str) -> None:
    cfg = read(config)
    task, kind, rest = parts(config)
    epochs, rate, decay, batch = recipe(task, kind)
    classes, mean, std, *_ = DATA[task]
    assert cfg.train_cfg.by_epoch
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (epochs, 1)
    assert cfg.optim_wrapper == {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": 5e-4},
    }
    (schedule,) = cfg.param_scheduler
    if decay == "cosine":
        assert schedule == {"type": "CosineAnnealingLR", "by_epoch": True, "T_max": epochs}
    else:
        assert schedule == {
            "type": "MultiStepLR", "by_epoch": True, "milestones": decay, "gamma": 0.1
        }  # fmt: skip
    assert cfg.randomness.seed == 1
    # The network and the pictures.
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == ("ResNet", 50)
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes
    assert cfg.data_preprocessor.mean == pytest.approx([255 * v for v in mean])
    assert cfg.data_preprocessor.std == pytest.approx([255 * v for v in std])
    assert cfg.data_preprocessor.to_rgb is False
    start = cfg.model.backbone.init_cfg
    if rest == "ticket":
        assert start is None
        assert cfg.ticket.path == "tickets/resnet50_robust_level10.safetensors"
    else:
        assert "ticket" not in cfg
        assert start == {
            "type": "PretrainedBackbone", "checkpoint": "weights/resnet50_linf_eps8.0.ckpt"
        }  # fmt: skip
    for name in LOADERS:
        loader = cfg[name]
        assert loader.batch_size == batch
        assert not loader.get("drop_last", False)
        assert loader.sampler.shuffle == (name == "train_dataloader")
        data = loader.dataset.get("dataset", loader.dataset)
        kinds = {"cifar10": "SplitCIFAR10", "cifar100": "SplitCIFAR100", "svhn": "SplitSVHN"}
        assert (data.type, data.part) == (kinds[task], name.partition("_")[0])
        if data.part != "test":
            assert data.val_last == 5000
        check_pipeline(data.pipeline, data.part)
    # Little data.
    whole = cfg.train_dataloader.dataset
    assert (whole.type == "Portion") == ("pct" in rest)
    if "pct" in rest:
        assert whole.images == (0.1 if rest.startswith("10pct") else 0.01)
        assert whole.get("order", "balanced") == ("file" if "file" in rest else "balanced")


def check_pipeline(pipeline: list[Any], part: str) -> None:
    *steps, pack = [(step.type, step) for step in pipeline]
    assert pack[0] == "PackInputs"
    if part == "train":
        (first, crop), (second, flip) = steps
        assert (first, second) == ("RandomResizedCrop", "RandomFlip")
        assert (crop.scale, crop.backend, crop.interpolation) == (224, "pillow", "bilinear")
        built = TRANSFORMS.build(crop)
        assert built.crop_ratio_range == (0.08, 1.0)  # torchvision's own
        assert built.aspect_ratio_range == (3 / 4, 4 / 3)
        assert (flip.prob, flip.direction) == (0.5, "horizontal")
    else:
        assert [name for name, _ in steps] == ["ResizeEdge", "CenterCrop"]


def test_trainings_are_told_apart_and_paired_by_their_names() -> None:
    names = {config: read(config).record.task for config in CLS if "ticket" not in config}
    assert len(set(names.values())) == len(names)
    for config, name in names.items():
        if "standard" in config:
            assert names[config.replace("standard", "adversarial")] == name + ADVERSARIAL


@pytest.mark.parametrize("config", CLS)
def test_attacks_and_selection_are_the_papers(config: str) -> None:
    cfg = read(config)
    task, kind, _ = parts(config)
    if kind == "standard":
        assert "adversarial" not in cfg
        assert cfg.val_cfg == cfg.test_cfg == {}
        assert [hook.type for hook in cfg.custom_hooks] == ["TestAtBestValHook"]
        assert cfg.default_hooks.checkpoint.save_best == SA
        return
    training = parse_adversarial(cfg.adversarial)
    assert training.loss == "adversarial"  # of attacked pictures alone
    assert training.bn_mode == "train"
    test = cfg.val_cfg.attacks["pgd-20"]
    for attack, steps in ((training.attack, 10), (parse_attack(test, "attack"), 20)):
        assert attack.eps == pytest.approx(8 / 255)
        assert attack.step_size == pytest.approx(2 / 255)
        assert (attack.steps, attack.random_start, attack.restarts) == (steps, True, 1)
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == ("RobustValLoop", "RobustTestLoop")
    assert dict(cfg.val_cfg.attacks) == dict(cfg.test_cfg.attacks) == {"pgd-20": "pgd-20"}
    # `if epoch >= 45`, counted from 0; SVHN's every epoch.
    assert cfg.train_cfg.val_begin == (1 if task == "svhn" else 46)
    assert [hook.type for hook in cfg.custom_hooks] == ["RobustBestHook"]
    assert list(cfg.default_hooks.checkpoint.save_best) == [SA, RA]
    assert cfg.default_hooks.checkpoint.rule == "greater"


@pytest.mark.parametrize("config", IMP)
def test_rounds_on_imagenet_are_the_papers(config: str) -> None:
    cfg = read(config)
    imp = parse_imp(cfg.imp)
    assert (imp.rounds, imp.amount, imp.rewind) == (19, 0.2, "pretrained")
    assert (imp.stem, imp.kinds, imp.first_prune) == (True, ("conv",), "before")
    assert (imp.criterion, imp.allocation) == ("magnitude", "global")
    assert imp.carried == imp.keep == ()  # fresh SGD in every round
    assert cfg.train_cfg.max_epochs == 30
    assert cfg.optim_wrapper == {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 5e-4, "momentum": 0.9, "weight_decay": 1e-4},
    }
    assert cfg.param_scheduler is None
    assert cfg.train_dataloader.batch_size == 2048
    assert cfg.train_dataloader.get("drop_last", False) is False
    assert cfg.randomness.seed == 1
    steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert steps == ["LoadImageFromFile", "RandomResizedCrop", "RandomFlip", "PackInputs"]
    assert cfg.train_dataloader.dataset.pipeline[1].scale == 224
    assert cfg.data_preprocessor.mean == pytest.approx([255 * v for v in (0.485, 0.456, 0.406)])
    assert cfg.data_preprocessor.std == pytest.approx([255 * v for v in (0.229, 0.224, 0.225)])
    # Validated on clean images, and the best by them is kept.
    assert cfg.val_cfg == {}
    assert cfg.default_hooks.checkpoint.save_best == SA
    file = cfg.model.backbone.init_cfg.checkpoint
    assert file == cfg.model.head.init_cfg.checkpoint
    kind = config.rpartition("resnet50_")[2]
    assert (
        file
        == {
            "standard": "weights/resnet50-0676ba61.pth",
            "fast": "weights/imagenet_model_weights_4px.pth.tar",
            "pgd_3": "weights/resnet50_linf_eps8.0.ckpt",
        }[kind]
    )
    if kind == "standard":
        assert "adversarial" not in cfg
        return
    training = parse_adversarial(cfg.adversarial)
    assert training.bn_mode == "train"
    attack = training.attack
    assert (attack.eps, attack.random_start) == (pytest.approx(8 / 255), True)
    # main_adv.py's; the one step is a guess, that of Wong et al. (2020).
    steps, size = {"pgd_3": (3, 16 / (3 * 255)), "fast": (1, 10 / 255)}[kind]
    assert (attack.steps, attack.step_size) == (steps, pytest.approx(size))


def test_batches_are_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert read(IMP[2]).train_dataloader.batch_size == 256
    for kind, size in (("standard", 8), ("adversarial", 16)):
        cfg = read(f"cls/paper_c/svhn/resnet50_{kind}")
        assert [cfg[name].batch_size for name in LOADERS] == [size] * 3
    monkeypatch.setenv("WORLD_SIZE", "3")
    for config, number in ((IMP[0], "2048"), (CLS[0], "64 and 128")):
        with pytest.raises(lth.LTHError, match=f"{number} cannot be dealt out evenly"):
            read(config)


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    "config", [c for c in CLS if "pct" not in c and "ticket" not in c and "cifar100" not in c]
)
def test_rates_epoch_by_epoch_are_torchs(config: str) -> None:
    cfg = read(config)
    task, kind, _ = parts(config)
    epochs, rate, decay, _ = recipe(task, kind)

    def sgd() -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)

    ours, theirs = sgd(), sgd()
    scheduler = PARAM_SCHEDULERS.build({**cfg.param_scheduler[0], "optimizer": ours})
    if decay == "cosine":
        want: Any = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, epochs)
    else:
        want = torch.optim.lr_scheduler.MultiStepLR(theirs, decay, 0.1)
    for _ in range(epochs):
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        scheduler.step()
        want.step()


def test_test_pictures_are_torchvisions() -> None:
    """Resize(256) and CenterCrop(224) of a small picture, as dataset.py has it."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    transforms = torchvision.transforms
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    want = np.asarray(theirs(Image.fromarray(pixels)))
    results: dict[str, Any] = {"img": pixels, "img_shape": (32, 32)}
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        for step in read(CLS[0]).test_dataloader.dataset.pipeline[:-1]:
            results = TRANSFORMS.build(step)(results)
    assert np.array_equal(results["img"], want)


# Little data --------------------------------------------------------------------------------------


def dataset(config: str, monkeypatch: pytest.MonkeyPatch, seed: int | None = None) -> Any:
    """The training set of a config, of as many pictures as the published one; each is its place."""
    cfg = read(config)
    classes, *_, total, _ = DATA[parts(config)[0]]
    places = np.arange(total, dtype=np.uint32)
    images = places.view(np.uint8).reshape(total, 1, 1, 4)[..., :3]
    labels = np.random.default_rng(1).integers(0, classes, total)
    for kind in (SplitCIFAR10, SplitSVHN):
        monkeypatch.setattr(kind, "read", lambda self, root, test: (images, labels))
    found = cfg.train_dataloader.dataset
    found.get("dataset", found).serialize_data = False
    if seed is not None:
        found.seed = seed
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return DATASETS.build(found), labels


def places_of(data: Any) -> list[int]:
    return [
        int.from_bytes(data.get_data_info(k)["img"].tobytes(), "little") for k in range(len(data))
    ]


@pytest.mark.parametrize("config", [c for c in CLS if "adversarial" in c and "ticket" not in c])
def test_how_many_pictures_and_which(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, labels = dataset(config, monkeypatch)
    task, _, rest = parts(config)
    whole = DATA[task][-1]
    if not rest:
        assert len(data) == whole
        return
    percent = rest.partition("pct")[0]
    count = COUNTS[task.rstrip("10"), percent]
    places = places_of(data)
    assert [int(labels[k]) for k in places] == [int(v) for v in data.get_gt_labels()]
    if "file" in rest:
        assert places == list(range(count))
        return
    # As many of each class as its share; which ones, the seed says.
    share = int(percent) / 100
    assert Counter(labels[places]) == {
        label: round(share * n) for label, n in Counter(labels[:whole]).items()
    }
    assert len(places) == pytest.approx(count, rel=0.02)
    assert max(places) < whole  # none that validates
    again, _ = dataset(config, monkeypatch, seed=0)
    other, _ = dataset(config, monkeypatch, seed=1)
    assert places_of(again) == places != places_of(other)


# At work, a sixteenth as wide ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data root, and a folder of narrow weights with a ticket."""
    root = tmp_path_factory.mktemp("paper_c")
    make_imagenet(root / "data", images=4)
    for task in TASKS:
        WRITERS[task](root / "data")
    weights = root / "weights"
    weights.mkdir()
    for name, make in WEIGHTS.items():
        torch.save(make(), weights / name)
    start = lth.load_backbone(weights / "resnet50_linf_eps8.0.ckpt")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(
            {"type": "ResNet", "depth": 50, "stem_channels": WIDTH, "base_channels": WIDTH}
        )
    model.load_state_dict(start)
    masks = lth.MaskSet.ones(model, lth.prunable(model, stem=True))
    for _ in range(10):
        masks = lth.prune(model, masks, amount=0.2)
    lth.Ticket(masks, start, {"level": 10, "stem": True}).save(
        weights / "resnet50_robust_level10.safetensors"
    )
    return root / "data", weights


@pytest.fixture
def toy(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("LTH_DATA_ROOT", str(roots[0]))
    monkeypatch.setenv("LTH_WEIGHTS", str(roots[1]))
    monkeypatch.setenv("LTH_TICKETS", str(roots[1]))
    return roots


def small(config: str, work_dir: Path, **options: Any) -> Config:
    """The config with a narrow network, 32 pixels and one epoch of one iteration."""
    cfg = read(config)
    if config in IMP:
        cfg = shrink(cfg, work_dir)
    else:
        cfg.model.backbone.update(stem_channels=WIDTH, base_channels=WIDTH)
        cfg.model.head.in_channels = FEATURES
        for name in LOADERS:
            cfg[name].update(batch_size=16, num_workers=0, persistent_workers=False)
            data = cfg[name].dataset
            if "images" in data:
                data.images = 0.5
                data = data.dataset
            data.update(verify=False, **({"val_last": 4} if "val_last" in data else {}))
            for step in data.pipeline:
                if "scale" in step:
                    step.scale = 36 if step.type == "ResizeEdge" else 32
                if "crop_size" in step:
                    step.crop_size = 32
        cfg.train_cfg.update(max_epochs=1)
        cfg.train_cfg.pop("val_begin", None)
        cfg.log_level = "ERROR"
        cfg.work_dir = str(work_dir)
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    return cfg


QUICK = [
    "cls/paper_c/cifar10/resnet50_standard_ticket",
    "cls/paper_c/cifar100/resnet50_adversarial_10pct",
    "cls/paper_c/svhn/resnet50_adversarial_1pct_file_order",
]


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=() if c in QUICK else pytest.mark.long) for c in CLS]
)
def test_trains_an_epoch_and_is_tested(config: str, toy: tuple[Path, Path], tmp_path: Path) -> None:
    runner = LTHRunner.from_cfg(small(config, tmp_path))
    before = {n: p.clone() for n, p in runner.model.named_parameters()}
    runner.train()
    assert runner.iter >= 1
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    _, kind, rest = parts(config)
    if kind == "standard":
        assert 0 <= json.loads((tmp_path / RESULT).read_text())["test"] <= 100
    else:
        found = json.loads((tmp_path / ROBUST_RESULT).read_text())
        assert all(0 <= found[best][of] <= 100 for best in found for of in ("SA", "RA"))
        assert found["ra_best"]["metric"] == RA
    after = dict(runner.model.named_parameters())
    assert all(not torch.equal(before[n], after[n]) for n in before if n.endswith("fc.weight"))
    if rest == "ticket":
        masks = lth.Ticket.load(toy[1] / "resnet50_robust_level10.safetensors").masks
        state = runner.model.backbone.state_dict()
        assert "conv1.weight" in masks
        assert sum(int(state[n].count_nonzero()) for n in masks) == masks.kept


@pytest.mark.parametrize("end", ["", "_ticket"])
def test_all_but_the_last_layer_is_transferred(
    end: str, toy: tuple[Path, Path], tmp_path: Path
) -> None:
    cfg = small(f"cls/paper_c/cifar10/resnet50_standard{end}", tmp_path)
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.model.backbone.norm_eval = True
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    want = lth.load_backbone(toy[1] / "resnet50_linf_eps8.0.ckpt")
    masks = lth.Ticket.load(toy[1] / "resnet50_robust_level10.safetensors").masks
    state = runner.model.backbone.state_dict()
    for name, tensor in want.items():
        kept = masks[name] if end and name in masks else torch.tensor(True)
        assert torch.equal(state[name], tensor.masked_fill(~kept, 0)), name


def test_the_new_last_layer_is_torchs_own(toy: tuple[Path, Path], tmp_path: Path) -> None:
    """As nn.Linear(2048, classes) begins, not with mmpretrain's normal values and no bias."""
    runner = LTHRunner.from_cfg(small("cls/paper_c/cifar100/resnet50_standard", tmp_path))
    runner._init_model_weights()
    bound = 1 / math.sqrt(FEATURES)
    for tensor in runner.model.head.fc.state_dict().values():
        assert 0.9 * bound < float(tensor.abs().max()) <= bound
        assert float(tensor.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_cifar_is_validated_from_the_46th_epoch_on(toy: tuple[Path, Path], tmp_path: Path) -> None:
    """Of the loop alone: `if epoch >= 45`, of epochs from 0."""
    shipped = read("cls/paper_c/cifar10/resnet50_adversarial").train_cfg
    cfg = small("cls/paper_c/cifar10/resnet50_standard", tmp_path)
    cfg.train_cfg = shipped
    runner = LTHRunner.from_cfg(cfg)
    loop: Any = runner.train_loop
    validated: list[int] = []

    class Watch(BaseLoop):
        def run(self) -> None:
            validated.append(loop.epoch - 1)

    runner._val_loop = Watch(runner, loop.dataloader)
    runner.call_hook = lambda *args, **kwargs: None
    loop.run_iter = lambda *args: None
    loop.dataloader = []
    loop.run()
    assert validated == [epoch for epoch in range(100) if epoch >= 45]


def kept_after(rounds: int, total: int) -> int:
    for _ in range(rounds):
        total -= round(0.2 * total)
    return total


@pytest.mark.parametrize("config", [IMP[0], pytest.param(IMP[1], marks=pytest.mark.long), IMP[2]])
def test_a_round_on_imagenet(config: str, toy: tuple[Path, Path], tmp_path: Path) -> None:
    levels = LTHRunner.from_cfg(small(config, tmp_path, imp__rounds=1)).train()
    assert [round(level.sparsity, 4) for level in levels] == [0, 0.2]
    assert not list((tmp_path / "level_00").glob("epoch_*.pth"))  # which is not trained
    ticket = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors")
    masks = ticket.masks
    assert masks.kept == kept_after(1, masks.total)
    assert next(iter(masks)) == "conv1.weight"
    # The first mask is of the weights as given, to which survivors are set back.
    file = Path(read(config).model.backbone.init_cfg.checkpoint)
    start = lth.load_backbone(file)
    threshold = min(float(start[n][m].abs().min()) for n, m in masks.items())
    for name, mask in masks.items():
        assert torch.equal(ticket.weights[name], start[name].masked_fill(~mask, 0))
        assert (start[name][~mask].abs() <= threshold).all()
    state = torch.load(tmp_path / "level_01/epoch_1.pth", weights_only=True)["state_dict"]
    assert any(not torch.equal(state[f"backbone.{n}"], ticket.weights[n]) for n in masks)
    # The last layer goes on from the published one.
    head = toy_head(file)
    rewind = lth.weights.read_state(tmp_path / "rewind.safetensors")
    assert torch.equal(rewind["head.fc.weight"], head)


def toy_head(file: Path) -> torch.Tensor:
    content = torch.load(file, weights_only=True)
    state = content.get("model", content.get("state_dict", content))
    return next(t for n, t in state.items() if n.endswith("fc.weight"))
