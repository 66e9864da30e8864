"""The config key ``adversarial``: what it makes of a config, and what it refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from lth_cls.adversarial.settings import apply, parse_adversarial
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config

from .parts import plain

BASES = Path(__file__).parents[3] / "configs/_base_/adversarial"


def config(adversarial: Any, **settings: Any) -> Config:
    return Config({"model": plain(), "adversarial": adversarial, **settings})


def test_the_model_is_made_one_that_is_trained_so() -> None:
    cfg = config({"attack": "pgd-3", "bn_mode": "eval"})
    before = copy.deepcopy(cfg.model.to_dict())
    apply(cfg)
    assert cfg.model.pop("type") == "mmpretrain.AdversarialClassifier"
    assert cfg.model.pop("classifier") == before.pop("type") == "ImageClassifier"
    assert cfg.model.pop("adversarial") == {"attack": "pgd-3", "bn_mode": "eval"}
    assert cfg.model.to_dict() == before
    assert cfg.adversarial == {"attack": "pgd-3", "bn_mode": "eval"}, "stays, for whoever reads it"
    assert "custom_hooks" not in cfg


def test_a_second_time_changes_nothing() -> None:
    cfg = config({"attack": "fast"}, custom_hooks=[{"type": "EMAHook"}])
    apply(cfg)
    once = copy.deepcopy(cfg)
    apply(cfg)
    assert cfg.to_dict() == once.to_dict()
    cfg.adversarial.attack = "pgd-3"
    with pytest.raises(ConfigError, match=r"adversarial and model.adversarial differ"):
        apply(cfg)


@pytest.mark.parametrize(
    ("fields", "watched"),
    [
        ({"attack": "fast"}, {"interval": 100, "images": 64}),
        ({"attack": "fast", "alarm": False}, None),
        ({"attack": "fast", "alarm": {"interval": 20}}, {"interval": 20, "images": 64}),
        ({"attack": "pgd-3"}, None),
        ({"attack": "pgd-3", "alarm": True}, {"interval": 100, "images": 64}),
        ({"attack": {"preset": "pgd-3", "steps": 1}}, {"interval": 100, "images": 64}),
    ],
)
def test_attacks_of_one_step_are_watched(
    fields: dict[str, Any], watched: dict[str, int] | None
) -> None:
    cfg = config(fields, custom_hooks=[{"type": "EMAHook"}])
    apply(cfg)
    first, *rest = cfg.custom_hooks
    assert first == {"type": "EMAHook"}
    assert rest == ([] if watched is None else [{"type": "OverfittingAlarm", **watched}])


def test_the_bases_are_the_papers() -> None:
    found = {
        path.stem: parse_adversarial(load_config(str(path)).adversarial)
        for path in sorted(BASES.glob("*.py"))
    }
    assert sorted(found) == ["fast", "pgd_10", "pgd_3", "trades"]
    assert {name: each.attack.steps for name, each in found.items()} == {
        "fast": 1,
        "pgd_3": 3,
        "pgd_10": 10,
        "trades": 10,
    }
    assert {each.attack.eps for each in found.values()} == {8 / 255}
    assert (found["trades"].loss, found["trades"].beta) == ("trades", 6)
    assert (found["trades"].bn_mode, found["pgd_3"].bn_mode) == ("eval", "train")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("pgd-10", r"adversarial is 'pgd-10'; it must be a dict"),
        ({}, r"adversarial needs the field 'attack'"),
        ({"attack": "pgd-30"}, r"adversarial.attack.preset is 'pgd-30'; known: pgd-3, .*fast"),
        ({"attack": {"preset": "fast", "eps": -1}}, r"attack.eps is -1"),
        ({"attack": {"preset": "fast", "eps": 8}}, r"attack.eps is 8; .* write 8/255"),
        ({"attack": {"preset": "pgd-3", "steps": 0}}, r"attack.steps is 0"),
        ({"attack": {"preset": "pgd-3", "restarts": 3}}, r"restarts are for evaluation"),
        ({"attack": {"preset": "pgd-3", "epsilon": 1}}, r"adversarial.attack has no field 'eps"),
        ({"attack": "fast", "atack": "fast"}, r"no field 'atack'; did you mean 'attack'"),
        ({"attack": "fast", "loss": "mart"}, r"adversarial.loss is 'mart'; known: adversarial, tr"),
        ({"attack": "fast", "bn_mode": True}, r"adversarial.bn_mode is True; known: train, eval"),
        ({"attack": "fast", "beta": 6}, r"only loss='trades' has it"),
        ({"attack": "fast", "loss": "trades", "beta": 0}, r"adversarial.beta is 0; use a number a"),
        ({"attack": "fast", "loss": "trades", "beta": "6"}, r"adversarial.beta is '6'"),
        (
            {"attack": {"preset": "fast", "random_start": False}, "loss": "trades"},
            r"needs a random start",
        ),
        ({"attack": "fast", "alarm": 3}, r"adversarial.alarm is 3; use True, False or a dict"),
        ({"attack": "fast", "alarm": {"interval": 0}}, r"alarm.interval is 0"),
        ({"attack": "fast", "alarm": {"every": 9}}, r"adversarial.alarm has no field 'every'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(fields: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        apply(config(fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "SimCLR"}, r"for classifiers of mmpretrain, and model.type 'SimCLR' is none"),
        ({"type": "mmdet.FCOS"}, r"model.type 'mmdet.FCOS' is none"),
        ({"type": "FCOS"}, r"model.type 'FCOS' is none"),
        ({"type": "ImageClasifier"}, r"model.type 'ImageClasifier' is none"),
        (None, r"for configs with a model"),
        ({"backbone": {}}, r"for configs with a model"),
    ],
)
def test_models_that_are_no_classifiers_are_refused(model: Any, message: str) -> None:
    cfg = Config({"model": model, "adversarial": {"attack": "fast"}})
    with pytest.raises(ConfigError, match=message) as caught:
        apply(cfg)
    assert "\n" not in str(caught.value)


def test_trades_of_several_labels_is_refused() -> None:
    cfg = config({"attack": "fast", "loss": "trades"})
    cfg.model.head.type = "MultiLabelLinearClsHead"
    with pytest.raises(ConfigError, match=r"needs one label an image, and model.head is MultiL"):
        apply(cfg)


def test_errors_come_before_a_chain_is_started(tmp_path: Path) -> None:
    cfg = load_config("lth_cls::cls/digits_resnet18.py")
    cfg.work_dir = str(tmp_path / "run")
    cfg.imp = {"rounds": 1, "rewind": "init"}
    cfg.adversarial = {"attack": "none"}
    with pytest.raises(ConfigError, match=r"adversarial.attack.preset is 'none'"):
        LTHRunner.from_cfg(cfg)
    assert not (tmp_path / "run").exists()
