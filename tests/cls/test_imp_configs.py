"""IMP on the pre-training tasks of paper A: what the configs say, and that they do it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.cli import main
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp
from mmengine.config import Config

from .toy_imagenet import (
    make_imagenet,
    moco_file,
    shrink,
    simclr_file,
    simclrv2_file,
    torchvision_file,
)

CONFIGS = Path(__file__).parents[2] / "configs/imp"

FILES = {
    "resnet50-0676ba61.pth": torchvision_file,
    "resnet50-1x.pth": simclr_file,
    "moco_v2_800ep_pretrain.pth.tar": moco_file,
    "r152_1x_sk0.pth": lambda: simclrv2_file(152),
    "r50_1x_sk0.pth": lambda: simclrv2_file(50),
}

# Paper A, Table 1, and for "..._code" what its released code does (papers.md, A.3 and A.4).
SGD = {"type": "SGD", "momentum": 0.9, "lr": 1e-4, "weight_decay": 1e-4}
LARS = {"type": "LARS", "momentum": 0.9, "lr": 1e-4, "weight_decay": 1e-6, "eta": 1e-3}
SIMCLR_VIEWS = (
    "crop 0.08-1.0",
    "flip 0.5",
    "jitter 0.8 0.8 0.8 0.2 p 0.8",
    "grey 0.2",
    "blur 0.1-2.0 p 0.5",
)
MOCO_VIEWS = (
    "crop 0.2-1.0",
    "jitter 0.4 0.4 0.4 0.1 p 0.8",
    "grey 0.2",
    "blur 0.1-2.0 p 0.5",
    "flip 0.5",
)
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
UNIT = ([0.0] * 3, [255.0] * 3)
SIMCLR = {
    "optimizer": SGD,
    "pixels": UNIT,
    "views": SIMCLR_VIEWS,
    "temperature": 0.5,
    "shuffle": True,
    "loss": "CrossEntropyLoss",
    "pool": None,
}
TABLE: dict[str, dict[str, Any]] = {
    "supervised_resnet50_imagenet": {
        "optimizer": SGD,
        "pixels": IMAGENET,
        "views": ("crop 0.08-1.0", "flip 0.5"),
        "shuffle": True,
    },
    "simclr_resnet50_imagenet": SIMCLR,
    "mocov2_resnet50_imagenet": {
        "optimizer": SGD | {"lr": 3e-4},
        "pixels": IMAGENET,
        "views": MOCO_VIEWS,
        "temperature": 0.2,
        "queue": 65536,
        "momentum": 0.999,
        "dim": 128,
        "shuffle": True,
        "pool": None,
    },
    "simclrv2_resnet152_imagenet": SIMCLR | {"depth": 152},
    "simclrv2_resnet50_imagenet": SIMCLR,
}
BEFORE = {"first_prune": "before"}
CODE: dict[str, dict[str, Any]] = {
    "supervised_resnet50_imagenet_code": TABLE["supervised_resnet50_imagenet"] | {"imp": BEFORE},
    "simclr_resnet50_imagenet_code": SIMCLR
    | {
        "optimizer": LARS,
        "views": SIMCLR_VIEWS[:-1],
        "shuffle": False,
        "loss": "LogMeanProbabilityLoss",
        "pool": 256,
        "seed": 2,
        "imp": BEFORE | {"carry": ("optimizer", "schedule"), "keep": ("neck.*", "head.*")},
    },
    "mocov2_resnet50_imagenet_code": TABLE["mocov2_resnet50_imagenet"]
    | {"imp": BEFORE | {"carry": ("optimizer", "schedule"), "keep": ("queue", "queue_ptr")}},
}
CHAINS = TABLE | CODE


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data root with a tiny ImageNet, and a folder of narrow weights."""
    root = tmp_path_factory.mktemp("imagenet")
    weights = root / "weights"
    weights.mkdir()
    for name, make in FILES.items():
        torch.save(make(), weights / name)
    return make_imagenet(root / "data"), weights


@pytest.fixture
def toy(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("LTH_DATA_ROOT", str(roots[0]))
    monkeypatch.setenv("LTH_WEIGHTS", str(roots[1]))
    return roots


def load(name: str) -> Config:
    return load_config(str(CONFIGS / f"{name}.py"))


def test_every_config_is_in_the_table() -> None:
    shipped = {path.stem for path in CONFIGS.glob("*.py")}
    assert shipped == set(CHAINS) | {"simclr_temperature_resnet50_imagenet"}


@pytest.mark.parametrize("name", CHAINS)
def test_settings_are_the_papers(name: str) -> None:
    cfg, paper = load(name), CHAINS[name]
    assert dict(cfg.optim_wrapper.optimizer) == paper["optimizer"]
    assert cfg.optim_wrapper.keys() == {"type", "optimizer"}  # LARS, too, on all parameters
    assert cfg.param_scheduler is None  # a constant rate
    assert cfg.train_cfg.max_epochs == 10
    assert cfg.train_dataloader.batch_size == 256
    assert cfg.train_dataloader.sampler.shuffle is paper["shuffle"]
    assert (cfg.data_preprocessor.mean, cfg.data_preprocessor.std) == paper["pixels"]
    assert cfg.data_preprocessor.to_rgb is True
    assert views(cfg) == paper["views"]
    assert cfg.model.backbone.depth == paper.get("depth", 50)
    assert cfg.randomness.seed == paper.get("seed", 0)
    assert cfg.train_dataloader.dataset.split == "train"
    assert cfg.val_dataloader.dataset.split == "val"
    settings = parse_imp(cfg.imp)
    wanted = {
        "rounds": 18,
        "amount": 0.2,
        "rewind": "pretrained",
        "criterion": "magnitude",
        "allocation": "global",
        "stem": False,
        "kinds": ("conv",),
        "first_prune": "after",
        "carry": None,
        "keep": (),
    }
    wanted |= paper.get("imp", {})
    assert {key: getattr(settings, key) for key in wanted} == wanted


@pytest.mark.parametrize("name", [n for n in CHAINS if "temperature" in CHAINS[n]])
def test_contrastive_settings_are_the_papers(name: str) -> None:
    cfg, paper = load(name), CHAINS[name]
    model = cfg.model
    assert model.head.temperature == paper["temperature"]
    assert model.head.loss.type == paper.get("loss", "CrossEntropyLoss")
    assert (model.neck.hid_channels, model.neck.out_channels) == (2048, 128)
    assert cfg.train_dataloader.drop_last is True
    assert cfg.train_dataloader.dataset.pipeline[1].num_views == 2
    # Validation images with training's augmentation; within 256 of them in the code, else all.
    assert cfg.val_dataloader.dataset.pipeline == cfg.train_dataloader.dataset.pipeline
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.val_evaluator.type == "RetrievalAccuracy"
    assert cfg.val_evaluator.get("pool") == paper["pool"]
    if "queue" in paper:
        assert (model.queue_len, model.feat_dim) == (paper["queue"], paper["dim"])
        assert 1 - model.momentum == paper["momentum"]


def views(cfg: Config) -> tuple[str, ...]:
    """A training pipeline's random steps in short."""
    steps = cfg.train_dataloader.dataset.pipeline
    steps = [s for step in steps for s in (step.transforms[0] if "num_views" in step else [step])]
    return tuple(text for step in steps if (text := in_short(step)))


def in_short(step: Any) -> str | None:
    if step.type == "RandomResizedCrop":
        assert step.scale == 224
        assert step.backend == "pillow"
        low, high = step.get("crop_ratio_range", (0.08, 1.0))
        return f"crop {low}-{high}"
    if step.type == "RandomFlip":
        return f"flip {step.prob}"
    if step.type == "RandomGrayscale":
        return f"grey {step.prob}"
    if step.type == "GaussianBlur":
        low, high = step.magnitude_range
        return f"blur {low}-{high} p {step.prob}"
    if step.type == "RandomApply":
        (jitter,) = step.transforms
        values = [jitter[key] for key in ("brightness", "contrast", "saturation", "hue")]
        return f"jitter {' '.join(map(str, values))} p {step.prob}"
    assert step.type in ("LoadImageFromFile", "PackInputs")
    return None


def test_the_batch_is_256_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    for name in TABLE:
        assert load(name).train_dataloader.batch_size == 64
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(lth.LTHError, match="256 cannot be dealt out evenly"):
        load("mocov2_resnet50_imagenet")


@pytest.mark.long
def test_scope_is_every_convolution_but_the_stem() -> None:
    from mmpretrain.registry import MODELS

    for name, count in (
        ("supervised_resnet50_imagenet", 23_445_504),
        ("mocov2_resnet50_imagenet", 23_445_504),
        ("simclrv2_resnet152_imagenet", 57_982_976),
    ):
        model = MODELS.build(load(name).model)
        assert lth.MaskSet.ones(model, lth.prunable(model)).total == count


@pytest.mark.parametrize("name", CHAINS)
def test_two_iterations_and_a_validation(name: str, tmp_path: Path, toy: tuple[Path, Path]) -> None:
    cfg = shrink(load(name), tmp_path)
    cfg.imp = None
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    metric = "accuracy" if "supervised" in name else "retrieval"
    assert 0 <= runner.message_hub.get_scalar(f"val/{metric}/top1").current() <= 100


@pytest.mark.long
@pytest.mark.parametrize("name", [*TABLE, "simclr_resnet50_imagenet_code"])
def test_two_iterations_at_full_size(name: str, tmp_path: Path, toy: tuple[Path, Path]) -> None:
    cfg = load(name)
    for part in (cfg.model.backbone, cfg.model.neck, cfg.model.head):
        part.pop("init_cfg", None)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_cfg.max_epochs = 1
    cfg.imp = None
    cfg.log_level = "ERROR"
    cfg.work_dir = str(tmp_path)
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("supervised_resnet50_imagenet", "resnet50-0676ba61.pth"),
        ("simclr_resnet50_imagenet", "resnet50-1x.pth"),
        ("mocov2_resnet50_imagenet", "moco_v2_800ep_pretrain.pth.tar"),
        ("simclrv2_resnet152_imagenet", "r152_1x_sk0.pth"),
    ],
)
def test_published_weights_arrive(
    name: str, file: str, tmp_path: Path, toy: tuple[Path, Path]
) -> None:
    from mmpretrain.registry import MODELS

    cfg = shrink(load(name), tmp_path)
    model = MODELS.build(cfg.model)
    model.init_weights()
    expected = lth.load_backbone(toy[1] / file)
    state = model.backbone.state_dict()
    for tensor_name, tensor in expected.items():
        assert torch.equal(state[tensor_name], tensor), tensor_name
    published = torch.load(toy[1] / file, weights_only=True)
    if "supervised" in name:
        assert torch.equal(model.head.fc.weight, published["fc.weight"])
        assert torch.equal(model.head.fc.bias, published["fc.bias"])
    if "mocov2" in name:
        query = {k: v for k, v in published["state_dict"].items() if "encoder_q.fc" in k}
        for place in ("0.weight", "0.bias", "2.weight", "2.bias"):
            mine = model.neck.state_dict()[f"mlp.{place}"]
            assert torch.equal(mine, query[f"module.encoder_q.fc.{place}"])
    if "simclrv2" in name:
        assert torch.equal(model.neck.fc2.weight, published["head"]["layers.6.weight"])
        assert torch.equal(model.neck.bn2.running_var, published["head"]["layers.7.running_var"])


def chain(name: str, tmp_path: Path) -> Any:
    """Two rounds of a config that is small in every way but its depth."""
    cfg = shrink(load(name), tmp_path)
    cfg.imp.rounds = 2
    return LTHRunner.from_cfg(cfg).train()


def kept_after(rounds: int, total: int) -> int:
    for _ in range(rounds):
        total -= round(0.2 * total)
    return total


@pytest.mark.parametrize(
    "name",
    [
        "supervised_resnet50_imagenet",
        "simclr_resnet50_imagenet",
        "mocov2_resnet50_imagenet",
        "simclr_resnet50_imagenet_code",
        "mocov2_resnet50_imagenet_code",
    ],
)
def test_two_rounds_end_in_exact_sparsities(
    name: str, tmp_path: Path, toy: tuple[Path, Path]
) -> None:
    results = chain(name, tmp_path)
    first = lth.Ticket.load(tmp_path / "level_00/ticket.safetensors").masks
    masks = lth.Ticket.load(tmp_path / "level_02/ticket.safetensors").masks
    assert "conv1.weight" not in masks
    assert (first.kept, masks.kept) == (first.total, kept_after(2, first.total))
    assert [result.sparsity for result in results] == pytest.approx([0, 0.2, 0.36], abs=1e-4)
    metric = "accuracy/top1" if "supervised" in name else "retrieval/top1"
    for result in results:
        assert 0 <= result.metrics[metric] <= 100
    state = torch.load(tmp_path / "level_02/epoch_1.pth", weights_only=True)["state_dict"]
    twins = ["encoder_k.module.0."] if "moco" in name else []
    for weight, mask in masks.items():
        for prefix in ("backbone.", *twins):
            assert bool((state[prefix + weight][~mask] == 0).all()), prefix + weight
    # Heads and queues are not pruned.
    dense = [n for n in state if n.startswith(("neck.", "head.", "queue")) and state[n].dim() > 1]
    assert dense
    assert all(bool((state[n] != 0).any(dim=-1).all()) for n in dense)


@pytest.mark.long
@pytest.mark.parametrize("name", ["simclr_resnet50_imagenet", "mocov2_resnet50_imagenet"])
def test_two_processes_go_through_a_chain(
    name: str, tmp_path: Path, toy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    cfg = shrink(load(name), tmp_path / "run", batch=2)
    cfg.imp.rounds = 1
    # What the command line would say of these: lists of steps cannot be given there.
    cfg.dump(tmp_path / "small.py")
    tools = Path(__file__).parents[2] / "tools"
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", str(tools / "dist_train.sh"), str(tmp_path / "small.py"), "2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "run/results.csv").read_text().splitlines()
    assert lines[0] == "level,sparsity,digest,retrieval/top1"
    assert [float(line.split(",")[1]) for line in lines[1:]] == pytest.approx([0, 0.2], abs=1e-4)
    masks = lth.Ticket.load(tmp_path / "run/level_01/ticket.safetensors").masks
    assert masks.kept == kept_after(1, masks.total)


def test_missing_data_and_weights_are_one_line_each(
    tmp_path: Path,
    toy: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(CONFIGS / "mocov2_resnet50_imagenet.py")
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path / "nowhere"))
    assert main(["train", config]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/nowhere/imagenet" in error
    assert "image-net.org" in error
    (tmp_path / "nowhere/imagenet/train").mkdir(parents=True)
    assert main(["train", config]) == 2
    assert f"{tmp_path}/nowhere/imagenet/val, which does not exist" in capsys.readouterr().err
    monkeypatch.setenv("LTH_DATA_ROOT", str(toy[0]))
    monkeypatch.setenv("LTH_WEIGHTS", str(tmp_path))
    options = ["--cfg-options", "log_level=ERROR", "train_dataloader.num_workers=0"]
    options += ["train_dataloader.persistent_workers=False"]
    options += ["train_dataloader.batch_size=4", "val_cfg=None", "val_dataloader=None"]
    assert main(["train", config, *options, "val_evaluator=None"]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line.startswith("error: ")
    assert f"{tmp_path}/moco_v2_800ep_pretrain.pth.tar" in line


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, toy: tuple[Path, Path]) -> None:
    from mmpretrain.registry import MODELS

    weights = toy[1]
    backbone = lth.load_backbone(weights / "resnet50-0676ba61.pth")
    torch.save(backbone, tmp_path / "no_head.pth")
    cfg = shrink(load("supervised_resnet50_imagenet"), tmp_path)
    cfg.model.head.init_cfg.checkpoint = str(tmp_path / "no_head.pth")
    with pytest.raises(lth.LTHError, match=r"no_head.pth has no layer fc or last_linear for fc;"):
        MODELS.build(cfg.model).init_weights()
    cfg.model.head.init_cfg = None
    cfg.model.backbone.init_cfg.checkpoint = str(weights / "moco_v2_800ep_pretrain.pth.tar")
    MODELS.build(cfg.model).init_weights()  # a ResNet-50 of any origin will do
    cfg.model.backbone.init_cfg.checkpoint = str(weights / "r152_1x_sk0.pth")
    with pytest.raises(lth.LTHError, match=r"layer2.4.conv1.weight has no place"):
        MODELS.build(cfg.model).init_weights()
    wide = load("supervised_resnet50_imagenet")
    with pytest.raises(lth.LTHError, match=r"conv1.weight is \(4, 3, 7, 7\), not \(64, 3, 7, 7\)"):
        MODELS.build(wide.model).init_weights()
    del backbone["layer2.0.bn1.bias"]
    torch.save(backbone, tmp_path / "part.pth")
    cfg = shrink(load("supervised_resnet50_imagenet"), tmp_path)
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / "part.pth")
    with pytest.raises(lth.LTHError, match=r"layer2.0.bn1.bias is missing"):
        MODELS.build(cfg.model).init_weights()


def test_temperature_sweep_ends_in_a_nested_mask(
    tmp_path: Path, toy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lth_core.cli import main

    monkeypatch.setenv("LTH_TICKETS", str(tmp_path))
    start = tmp_path / "resnet50_simclr_level05.safetensors"
    given = f"{toy[1]}/resnet50-1x.pth"
    assert main(["ticket", "make", given, "--level", "5", "-o", str(start)]) == 0
    path = str(CONFIGS / "simclr_temperature_resnet50_imagenet.py")
    cfg = shrink(load_config(path, {"model.head.temperature": 20}), tmp_path / "work")
    assert cfg.model.head.temperature == 20
    assert cfg.optim_wrapper.optimizer == SGD
    LTHRunner.from_cfg(cfg).train()
    end = tmp_path / "level06.safetensors"
    trained = tmp_path / "work/epoch_1.pth"
    assert main(["ticket", "make", str(trained), "--level", "6", "-o", str(end)]) == 0
    before, after = lth.Ticket.load(start).masks, lth.Ticket.load(end).masks
    assert after.kept == kept_after(6, after.total)
    assert (before & after) == after
