"""The alarm of catastrophic overfitting: what it sees, what it says, what it costs."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lth_cls.adversarial import OverfittingAlarm
from lth_cls.adversarial.alarm import STEPS
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .parts import CLASSES, batch, build, count_passes

EPS = 0.1
GREY = 100
"""The pixel that every image has, of 255."""


@MODELS.register_module()
class OneStepRobust(nn.Module):
    """Of grey images: right at their centre and at the edge of the ball, wrong halfway.

    The loss rises from the centre, so one step of ``eps`` goes to the edge, where it is low again;
    smaller steps find the place where it is high. So do networks that have overfitted to one step.
    """

    def __init__(self, hollow: float = 1.0) -> None:
        super().__init__()
        self.hollow = nn.Parameter(torch.tensor(hollow))

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """How sure the model is of class 0, as two features."""
        moved = (inputs.mean((1, 2, 3)) - GREY) / 255 / EPS
        depth = torch.exp(-(((moved.abs() - 0.5) / 0.25) ** 4))
        score = 4 - 8 * self.hollow * depth
        return (torch.stack([score, -score], 1),)


@pytest.fixture(autouse=True)
def _one_stream() -> None:
    """Random starts are the same in every run; of some hundred, one misses the place."""
    torch.manual_seed(0)


def overfitted(hollow: float = 1.0) -> Any:
    """A model that withstands its attack and no other; with ``hollow=0`` it withstands both."""
    attack = {"type": "FGSM", "eps": EPS, "step_size": EPS, "random_start": False}
    model = MODELS.build(
        {
            "type": "AdversarialClassifier",
            "adversarial": {"attack": attack},
            "backbone": {"type": "OneStepRobust", "hollow": hollow},
            "head": {"type": "LinearClsHead", "num_classes": 2, "in_channels": 2},
        }
    ).train()
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.eye(2))
        model.head.fc.bias.zero_()
    return model


def grey(count: int = 8) -> dict[str, Any]:
    """Images a little lighter than the centre, so that there is a way up; class 0."""
    _, samples = batch(count=count)
    for sample in samples:
        sample.set_gt_label(0)
    return {"inputs": torch.full((count, 3, 6, 6), GREY + 5), "data_samples": samples}


class Run:
    """Stands for a runner: what the alarm says and writes."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.iter = 0
        self.scalars: list[tuple[str, float]] = []
        self.messages: list[str] = []
        self.logger = logging.Logger("run")
        handler = logging.Handler()
        handler.emit = lambda record: self.messages.append(record.getMessage())  # type: ignore[method-assign]
        self.logger.addHandler(handler)
        self.message_hub = SimpleNamespace(
            update_scalar=lambda name, value: self.scalars.append((name, value))
        )

    def go(self, alarm: OverfittingAlarm, iterations: int, data: Any = None) -> None:
        for _ in range(iterations):
            alarm.before_train_iter(self, self.iter, data or grey())
            self.iter += 1


def test_it_warns_once_when_training_has_overfitted() -> None:
    run = Run(overfitted())
    run.go(OverfittingAlarm(interval=10, images=64), 20)
    assert run.scalars == [("train/accuracy_training_attack", 100), ("train/accuracy_pgd", 0)] * 2
    (message,) = run.messages
    assert "catastrophic overfitting at iteration 20" in message
    assert "100 % are right under the attack of the training, 0 % under PGD" in message
    assert "\n" not in message


def test_it_warns_no_second_time() -> None:
    run, alarm = Run(overfitted()), OverfittingAlarm(interval=1, images=8)
    for hollow in (1.0, 0.0, 1.0):  # recovers, and overfits again
        run.model.backbone.hollow.data.fill_(hollow)
        run.go(alarm, 3)
    assert [value for name, value in run.scalars if "pgd" in name] == [0] * 3 + [100] * 3 + [0] * 3
    assert len(run.messages) == 1


def test_it_is_silent_for_a_robust_model_and_for_one_that_knows_nothing() -> None:
    for hollow in (0.0, -1.0):
        run = Run(overfitted(hollow))
        run.go(OverfittingAlarm(interval=1, images=8), 3)
        assert run.scalars[-2:] == [
            ("train/accuracy_training_attack", 100),
            ("train/accuracy_pgd", 100),
        ]
        assert not run.messages
    run = Run(build({"attack": {"preset": "fast", "eps": 0.9}}))  # random weights
    loaded, samples = batch(count=32)
    run.go(OverfittingAlarm(1, 32), 3, {"inputs": loaded, "data_samples": samples})
    assert run.scalars[-2][1] < 20
    assert not run.messages


def test_one_look_is_no_proof() -> None:
    run, alarm = Run(overfitted()), OverfittingAlarm(interval=1, images=8)
    run.go(alarm, 1)
    run.model.backbone.hollow.data.fill_(0.0)
    run.go(alarm, 1)
    run.model.backbone.hollow.data.fill_(1.0)
    run.go(alarm, 1)
    assert not run.messages


def test_a_look_leaves_no_trace_and_costs_what_it_says() -> None:
    model = build({"attack": "fast"})
    model.backbone.drop.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream = torch.get_rng_state()
    passes, images = count_passes(model.backbone), []
    model.backbone.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0])))
    loaded, samples = batch(count=32)
    Run(model).go(OverfittingAlarm(3, 16), 3, {"inputs": loaded, "data_samples": samples})
    assert passes == {"forward": STEPS + 3, "backward": STEPS + 1}
    assert set(images) == {16}
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert model.backbone.norm.training
    assert not model.backbone.drop.training


@pytest.mark.parametrize(
    ("model", "head", "message"),
    [
        (lambda: build(None), "labels", "the model is no AdversarialClassifier"),
        (
            lambda: build({"attack": "fast"}, head="several labels"),
            "several labels",
            "the images have not one label each",
        ),
    ],
)
def test_it_says_when_there_is_nothing_to_watch(model: Any, head: str, message: str) -> None:
    run, alarm = Run(model()), OverfittingAlarm(1, CLASSES)
    loaded, samples = batch(head)
    run.go(alarm, 3, {"inputs": loaded, "data_samples": samples})
    assert [message in said for said in run.messages] == [True]
    assert not run.scalars
