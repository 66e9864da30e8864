"""The classification and pre-training configs on digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from brief import assert_trained, backbone_shapes, run_briefly

PRETRAININGS = ["supervised", "simclr", "mocov2"]


def test_classifier_trains_and_is_evaluated(tmp_path: Path) -> None:
    runner = run_briefly("cls/digits_resnet18.py", tmp_path)
    assert_trained(runner)
    assert 0 <= runner.message_hub.get_scalar("val/accuracy/top1").current() <= 100


@pytest.mark.parametrize("name", PRETRAININGS)
def test_pre_training_trains(name: str, tmp_path: Path) -> None:
    assert_trained(run_briefly(f"cls/pretrain_{name}_digits.py", tmp_path))


def test_all_share_one_backbone_with_torchvisions_names(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    names = {n for n in resnet18().state_dict() if not n.startswith("fc.")}
    configs = ["cls/digits_resnet18.py", *(f"cls/pretrain_{n}_digits.py" for n in PRETRAININGS)]
    shapes = [backbone_shapes(run_briefly(c, tmp_path / str(i))) for i, c in enumerate(configs)]
    assert shapes[0].keys() == names
    assert all(other == shapes[0] for other in shapes)
