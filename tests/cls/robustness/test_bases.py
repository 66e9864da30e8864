"""The key ``robustness`` and its base files: beside other bases, strict, in ``lth test``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lth_cls.evaluation.settings import apply
from lth_core import results
from lth_core.cli import main
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.naming import comparison_digest, task_of
from mmengine.config import Config
from mmengine.runner import Runner

from ..small_data import write_cifar, write_corruptions
from .linear import EPS, config, exact_accuracy, fitted

CONFIGS = Path(__file__).parents[3] / "configs"
BASES = CONFIGS / "_base_" / "robustness"

LOOPS = {
    "pgd_20": ("RobustValLoop", "RobustTestLoop"),
    "autoattack": ("ValLoop", "RobustTestLoop"),
    "audit": ("ValLoop", "RobustAuditLoop"),
    "cifar10_c": ("ValLoop", "CorruptionTestLoop"),
    "cifar100_c": ("ValLoop", "CorruptionTestLoop"),
}


def inheriting(tmp_path: Path, *bases: str, **changes: Any) -> Config:
    path = tmp_path / "config.py"
    path.write_text(f"_base_ = {list(bases)}\n")
    cfg = load_config(str(path))
    cfg.work_dir = str(tmp_path / "work")
    cfg.merge_from_dict(changes)
    return cfg


def test_all_base_files_are_in_these_tests() -> None:
    assert {path.stem for path in BASES.glob("*.py")} == set(LOOPS)


@pytest.mark.parametrize("base", LOOPS)
def test_beside_a_classifiers_config(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = 100 if base == "cifar100_c" else 10
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path))
    cifar = f"{CONFIGS}/cls/cifar{kind}/resnet50.py"
    write_cifar(tmp_path, f"cifar{kind}", each=8)
    root = write_corruptions(tmp_path, ("fog",), classes=kind)
    cfg = inheriting(tmp_path, cifar, str(BASES / f"{base}.py"))
    cfg.model.backbone.depth, cfg.model.head.in_channels = 18, 512
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(verify=False, val_last=3)
    if base.endswith("_c"):
        assert Path(cfg.robustness.test.dataset.data_root) == root
        cfg.robustness.test.dataset.verify = False
        cfg.robustness.test.update(corruptions=["fog"], severities=[1])
    runner = Runner.from_cfg(cfg)  # mmengine's own, as mmpretrain's tools have it
    assert isinstance(runner, LTHRunner)
    kinds = type(runner.val_loop).__name__, type(runner.test_loop).__name__
    assert kinds == LOOPS[base]
    if base == "autoattack":
        settings = runner.test_loop.evaluator.attacks["autoattack"].settings
        assert not settings.reduced
        assert settings.eps == EPS
    if base == "audit":
        assert runner.test_loop.evaluator.number == 8
    if base.endswith("_c"):
        assert len(runner.test()) == 2


def test_beside_mmpretrains_own_config(tmp_path: Path) -> None:
    base = "mmpretrain::resnet/resnet18_8xb16_cifar10.py"
    cfg = inheriting(tmp_path, base, str(BASES / "pgd_20.py"))
    apply(cfg)
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == LOOPS["pgd_20"]


def test_beside_adversarial_training_and_a_ticket(tmp_path: Path) -> None:
    names = ("_base_/robustness/pgd_20", "_base_/adversarial/pgd_10", "_base_/tickets/imagenet_90")
    cfg = inheriting(tmp_path, *(f"{CONFIGS}/{each}.py" for each in names))
    assert set(cfg.robustness) == {"val", "test"}
    assert cfg.adversarial.attack == {"preset": "pgd-10"}
    assert "ticket" in cfg


def test_a_second_time_nothing_changes_and_fp16_stays(tmp_path: Path) -> None:
    attacks = {"pgd-20": "pgd-20"}
    cfg = Config({"val_cfg": {"fp16": True}, "test_cfg": {}, "robustness": {}})
    cfg.robustness = {"val": {"attacks": attacks}, "test": {"attacks": attacks, "first": 5}}
    apply(cfg)
    once = cfg.to_dict()
    assert once["val_cfg"] == {"type": "RobustValLoop", "fp16": True, "attacks": attacks}
    assert once["test_cfg"] == {"type": "RobustTestLoop", "attacks": attacks, "first": 5}
    apply(cfg)
    assert cfg.to_dict() == once
    without = Config({"robustness": cfg.robustness, "val_cfg": None})
    apply(without)
    assert without.val_cfg is None
    assert "test_cfg" not in without


def test_it_wins_over_loops_of_its_kind() -> None:
    """Paper C's recipes test under PGD-20; a base file beside them asks for another test."""
    attacks = {"pgd-20": "pgd-20"}
    cfg = Config({"test_cfg": {"type": "RobustTestLoop", "attacks": attacks, "fp16": True}})
    cfg.robustness = {"test": {"type": "RobustAuditLoop", "first": 9}}
    apply(cfg)
    assert cfg.test_cfg == {"type": "RobustAuditLoop", "first": 9, "fp16": True}
    cfg.robustness = {"test": {"attacks": {"all": {"type": "AutoAttack"}}}}
    apply(cfg)
    assert cfg.test_cfg.attacks == {"all": {"type": "AutoAttack"}}
    assert "first" not in cfg.test_cfg


def test_a_training_is_the_same_task_however_it_is_tested() -> None:
    cfg = Config({"model": {"type": "X"}, "train_dataloader": {"dataset": {"type": "Y"}}})
    names = task_of(cfg), comparison_digest(cfg)
    cfg.robustness = {"test": {"attacks": {"pgd-20": "pgd-20"}}}
    assert (task_of(cfg), comparison_digest(cfg)) == names


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("pgd-20", "robustness is 'pgd-20'"),
        ({"vals": {}}, "did you mean 'val'"),
        ({"val": "pgd-20"}, "robustness.val is 'pgd-20'"),
        ({"val": {"type": "RobustTestLoop"}}, "robustness.val.type is 'RobustTestLoop'; known: "),
        ({"test": {"attacks": {}}}, "takes the place of test_cfg, which is a LinearSVMLoop"),
    ],
)
def test_what_is_no_good_is_said(value: Any, said: str) -> None:
    cfg = Config({"robustness": value, "val_cfg": {}, "test_cfg": {"type": "LinearSVMLoop"}})
    with pytest.raises(ConfigError, match=said):
        apply(cfg)


def test_lth_test_takes_any_checkpoint_and_records_it(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    state = {"head.fc.weight": weight, "head.fc.bias": bias}
    (tmp_path / "chain" / "level_00").mkdir(parents=True)
    checkpoint = tmp_path / "chain" / "level_00" / "epoch_1.pth"
    torch.save({"state_dict": state}, checkpoint)
    cfg = config(tmp_path / "work", {})
    cfg.val_cfg = cfg.test_cfg = {}
    cfg.robustness = {"test": {"attacks": {"pgd-20": "pgd-20"}}}
    cfg.adversarial = {"attack": "pgd-3"}
    cfg.dump(tmp_path / "config.py")
    arguments = ["test", str(tmp_path / "config.py"), str(checkpoint)]
    change = ["--cfg-options", "robustness.test.attacks.small=fast"]
    assert main([*arguments, "--work-dir", str(tmp_path / "work"), *change]) == 0
    found = {each.metric: each for each in results.read([tmp_path / "work"])}
    assert set(found) == {"accuracy/top1", "accuracy/top1/pgd-20", "accuracy/top1/small"}
    robust = found["accuracy/top1/pgd-20"]
    assert robust.value == pytest.approx(exact_accuracy(weight, bias, 40, 2, EPS))
    assert (robust.task, robust.weights, robust.mask, robust.level) == (
        "GreyNoise Flat, adversarial pgd-3", "chain", "dense", 0,
    )  # fmt: skip


def test_a_checkpoint_without_all_weights_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {"head.fc.weight": torch.zeros(2, 48)}}, tmp_path / "half.pth")
    config(tmp_path / "work", {"pgd-20": "pgd-20"}).dump(tmp_path / "config.py")
    assert main(["test", str(tmp_path / "config.py"), str(tmp_path / "half.pth")]) == 2
    assert "model: head.fc.bias is missing" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "work" / results.FILE).exists()
