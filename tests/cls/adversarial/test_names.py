"""Adversarial training has a name of its own among results, beside the standard one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lth_core.matching import ADVERSARIAL
from lth_core.openmmlab.keys import apply_package_keys
from lth_core.openmmlab.naming import comparison_digest, task_of
from mmengine.config import Config

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"attack": "pgd-10"}, "pgd-10"),
        ({"attack": "fast", "bn_mode": "train", "alarm": True}, "fast train"),
        ({"attack": "fast", "alarm": {"interval": 20}}, "fast"),
        ({"attack": {"preset": "pgd-10", "eps": 4 / 255}}, "pgd-10 eps=0.01569"),
        ({"attack": "pgd-3", "loss": "trades", "beta": 3}, "pgd-3 trades beta=3"),
    ],
)
def test_task_is_the_standard_one_with_the_attack(settings: Any, told: str) -> None:
    cfg = Config.fromfile(ROOT / "configs" / "cls" / "digits_resnet18.py")
    assert task_of(cfg) == "Digits ResNet-18"
    cfg.adversarial = settings
    for _ in range(2):  # a second time changes nothing
        apply_package_keys(cfg)
        assert task_of(cfg) == f"Digits ResNet-18{ADVERSARIAL} {told}"


def test_the_alarm_makes_no_other_training_and_another_attack_does() -> None:
    cfg = Config.fromfile(ROOT / "configs" / "cls" / "digits_resnet18.py")
    digests = []
    for alarm in (None, False, {"interval": 20}):
        cfg.adversarial = {"attack": "fast", "alarm": alarm}
        digests.append(comparison_digest(cfg))
    assert len(set(digests)) == 1
    cfg.adversarial.attack = "pgd-3"
    assert comparison_digest(cfg) != digests[0]
