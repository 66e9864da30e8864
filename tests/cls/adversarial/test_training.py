"""Adversarial trainings as a whole: resumed, from a ticket, in a chain, under other tools."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lth_core as lth
import mmpretrain
import pytest
import torch
from lth_cls.adversarial import AdversarialTraining
from lth_core.cli import main as lth_command
from lth_core.errors import RunError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config

from ..toy_imagenet import make_imagenet

ROOT = Path(__file__).parents[3]
BASES = ROOT / "configs/_base_/adversarial"
SMALL = """
model = dict(
    backbone=dict(base_channels=4, stem_channels=4), head=dict(in_channels=32))
train_dataloader = dict(batch_size=8, dataset=dict(indices=16))
val_dataloader = dict(dataset=dict(indices=16))
train_cfg = dict(max_epochs=2)
log_level = 'ERROR'
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1, save_best=None))
randomness = dict(seed=0)
"""


def write(folder: Path, base: str, *more: str) -> Path:
    """A user's config: digits, a base of adversarial training, others, small sizes."""
    bases = ["lth_cls::cls/digits_resnet18.py", str(BASES / f"{base}.py"), *more]
    path = folder / "config.py"
    path.write_text(f"_base_ = {bases!r}\n{SMALL}")
    return path


def digits(folder: Path, base: str = "pgd_3", **options: Any) -> Config:
    folder.mkdir(exist_ok=True)
    cfg = load_config(str(write(folder, base)))
    cfg.work_dir = str(folder / "run")
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    return cfg


def train(cfg: Config) -> LTHRunner:
    runner: LTHRunner = LTHRunner.from_cfg(cfg)
    runner.train()
    return runner


def same(first: LTHRunner, second: LTHRunner) -> bool:
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert ours.keys() == theirs.keys()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    """A base file with a ticket of the small backbone, 80 % of its weights pruned."""
    cfg = digits(tmp_path / "dense")
    backbone = LTHRunner.from_cfg(cfg).model.backbone
    masks = lth.prune(backbone, lth.MaskSet.ones(backbone, lth.prunable(backbone)), 0.8)
    lth.Ticket(masks, backbone.state_dict()).save(tmp_path / "small.safetensors")
    base = tmp_path / "ticket.py"
    base.write_text(
        "__import__('lth_core.openmmlab')\nrunner_type = 'LTHRunner'\n"
        f"ticket = dict(path={str(tmp_path / 'small.safetensors')!r})\n"
    )
    return base


@pytest.mark.parametrize("base", ["fast", "trades"])
def test_a_resumed_training_ends_with_the_same_bits(base: str, tmp_path: Path) -> None:
    whole = train(digits(tmp_path / "whole", base))
    broken = digits(tmp_path / "broken", base)
    broken.load_from = str(tmp_path / "whole/run/epoch_1.pth")
    broken.resume = True
    resumed = train(broken)
    assert resumed.iter == whole.iter == 4
    assert same(whole, resumed)


def test_the_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        train(digits(tmp_path / name, train_cfg__max_epochs=1, randomness__seed=seed))
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert same(first, again)
    assert not same(first, other)


def test_the_alarm_changes_nothing_and_stands_beside_the_loss(tmp_path: Path) -> None:
    quiet = train(digits(tmp_path / "quiet", "fast", adversarial__alarm=False))
    watched = train(
        digits(tmp_path / "watched", "fast", adversarial__alarm={"interval": 2, "images": 4})
    )
    assert same(quiet, watched)
    (log,) = (tmp_path / "watched/run").glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    shown = [line for line in lines if "loss" in line]
    assert all({"accuracy_training_attack", "accuracy_pgd"} <= line.keys() for line in shown)
    assert "train/accuracy_pgd" in watched.message_hub.log_scalars
    assert "train/accuracy_pgd" not in quiet.message_hub.log_scalars


@pytest.mark.long
@pytest.mark.parametrize(("eps", "overfits"), [(0.3, True), (8 / 255, False)])
def test_the_alarm_tells_trainings_that_overfit_from_others(
    eps: float, overfits: bool, tmp_path: Path
) -> None:
    cfg = load_config("lth_cls::cls/digits_resnet18.py")
    cfg.work_dir = str(tmp_path)
    attack = {"type": "FGSM", "eps": eps, "step_size": eps, "random_start": False}
    cfg.adversarial = {"attack": attack, "alarm": {"interval": 21}}
    cfg.train_cfg.max_epochs, cfg.param_scheduler, cfg.randomness = 8, None, {"seed": 0}
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = train(cfg)
    (log,) = tmp_path.glob("*/*.log")
    assert log.read_text().count("catastrophic overfitting") == overfits
    scalars = runner.message_hub.log_scalars
    assert scalars["train/accuracy_training_attack"].current() > 20
    assert (scalars["train/accuracy_pgd"].current() < 5) == overfits


def test_a_ticket_keeps_its_zeros_and_lth_train_takes_both_bases(
    tmp_path: Path, ticket: Path
) -> None:
    config = write(tmp_path, "fast", str(ticket))
    assert lth_command(["train", str(config), "--work-dir", str(tmp_path / "run")]) == 0
    masks = lth.Ticket.load(tmp_path / "small.safetensors").masks
    saved = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)["state_dict"]
    for name, mask in masks.items():
        weight = saved[f"backbone.{name}"]
        assert not weight[~mask].any(), name
        assert bool(weight[mask].any())
    (line, *_) = (tmp_path / "run/results.jsonl").read_text().splitlines()
    assert json.loads(line)["task"] == "Digits ResNet-18, adversarial fast"


def test_wrong_settings_end_lth_train_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path, "fast")
    run = ["train", str(config), "--work-dir", str(tmp_path / "run")]
    assert lth_command([*run, "--cfg-options", "adversarial.attack=pgd-7"]) == 2
    assert "adversarial.attack.preset is 'pgd-7'; known:" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("criterion", ["magnitude", "snip"])
def test_a_chain_finds_tickets_in_adversarial_training(criterion: str, tmp_path: Path) -> None:
    imp = {"rounds": 1, "rewind": "init", "criterion": criterion}
    cfg = digits(tmp_path, train_cfg__max_epochs=1, imp=imp)
    LTHRunner.from_cfg(cfg).train()
    masks = lth.Ticket.load(tmp_path / "run/level_01/ticket.safetensors").masks
    assert masks.kept == masks.total - round(0.2 * masks.total)
    stored = json.loads((tmp_path / "run/imp.json").read_text())
    assert stored["config"]["adversarial"] == {"attack": {"preset": "pgd-3"}}
    cfg.adversarial.attack = "pgd-10"
    with pytest.raises(RunError, match=r"adversarial"):
        LTHRunner.from_cfg(cfg).train()


def test_snip_scores_the_loss_that_is_trained_and_leaves_no_trace(tmp_path: Path) -> None:
    from lth_core.openmmlab.ranking import criterion_on

    runner = LTHRunner.from_cfg(digits(tmp_path))
    model = runner.model
    assert isinstance(model, AdversarialTraining)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks = lth.MaskSet.ones(model.backbone, lth.prunable(model.backbone))
    criterion = criterion_on("snip", runner, 1)
    stream = torch.Generator().manual_seed(0)
    found = lth.prune(model, masks, 0.5, criterion=criterion, generator=stream)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())

    # The same by hand: |w dL/dw| of the loss of attacked images, in one backward pass.
    from lth_core.openmmlab.ranking import _batches
    from lth_core.randomness import borrowed, draw_seed

    (batch,) = _batches(runner, 1)
    model.train()
    with borrowed(draw_seed(torch.Generator().manual_seed(0))):
        data = model.data_preprocessor(batch, True)
        model.parse_losses(model.loss(**data))[0].backward()
    scores = torch.cat(
        [
            (model.get_parameter(f"backbone.{name}") * model.get_parameter(f"backbone.{name}").grad)
            .abs()
            .flatten()
            for name in masks
        ]
    )
    kept = torch.cat([found[name].flatten() for name in masks])
    assert scores[kept].min() >= scores[~kept].max() * (1 - 1e-4)


def test_mmpretrains_own_tool_trains_it_from_bases_alone(tmp_path: Path, ticket: Path) -> None:
    make_imagenet(tmp_path / "data", images=4)
    config = tmp_path / "config.py"
    bases = ["mmpretrain::resnet/resnet18_8xb32_in1k.py", str(BASES / "fast.py"), str(ticket)]
    config.write_text(
        f"_base_ = {bases!r}\n"
        "model = dict(backbone=dict(base_channels=4, stem_channels=4), head=dict(in_channels=32))\n"
        "train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)\n"
        "train_dataloader['dataset'] = dict(pipeline=[dict(type='LoadImageFromFile'), "
        "dict(type='Resize', scale=32), dict(type='PackInputs')])\n"
        "train_cfg = dict(max_epochs=1)\n"
    )
    tool = Path(mmpretrain.__file__).parent / ".mim/tools/train.py"
    run = [str(config), "--work-dir", "run", "--no-validate", "--no-persistent-workers"]
    done = subprocess.run(
        [sys.executable, str(tool), *run], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    saved = torch.load(tmp_path / "run/epoch_1.pth", weights_only=True)
    masks = lth.Ticket.load(tmp_path / "small.safetensors").masks
    for name, mask in masks.items():
        assert not saved["state_dict"][f"backbone.{name}"][~mask].any(), name
    # 2 steps of 2 passes each, which batch norm has counted.
    assert saved["state_dict"]["backbone.bn1.num_batches_tracked"] == 4
