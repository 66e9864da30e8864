"""Classifiers trained on adversarial examples: what the loss is of, what it costs and leaves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lth_cls.adversarial import AdversarialTraining, PixelSpace, classifier, parse_attack, perturb
from lth_cls.adversarial.settings import classifier_class
from lth_core.errors import ConfigError
from lth_core.randomness import isolated
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import CLASSES, HEADS, MEAN, STD, batch, build, count_passes, given

CLASSIFIERS = sorted(
    name
    for name, kind in MODELS.module_dict.items()
    if isinstance(kind, type) and issubclass(kind, BaseClassifier) and kind.__name__ == name
)
FIXED = {"type": "PGD", "eps": 0.06, "steps": 3, "step_size": 0.03, "random_start": False}


def by_hand(model: Any, loaded: Tensor, labels: Tensor, steps: int) -> Tensor:
    """The loss of ``FIXED`` of a plain classifier, written out; inputs normalised by hand."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)

    def loss(pixels: Tensor) -> Tensor:
        (features,) = model.backbone((255 * pixels - mean) / std)
        return F.cross_entropy(model.head.fc(features), labels)

    clean = loaded / 255
    moved = clean.clone()
    for _ in range(steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(loss(moved), moved)
        moved = moved.detach() + 0.03 * slope.sign()
        moved = (clean + (moved - clean).clamp(-0.06, 0.06)).clamp(0, 1)
    return loss(moved)


@pytest.fixture(autouse=True)
def _streams() -> Iterator[None]:
    """Random starts and mixtures are the same in every run."""
    with isolated(0):
        yield


def assert_same_gradients(model: nn.Module, reference: nn.Module) -> None:
    """Within a hundredth: where a loss is flat, rounding decides which way a pixel moves."""
    ours, theirs = (
        torch.cat([parameter.grad.flatten() for parameter in each.parameters()])
        for each in (model, reference)
    )
    assert torch.linalg.vector_norm(ours - theirs) < 0.01 * torch.linalg.vector_norm(theirs)


def test_the_loss_and_its_gradients_are_those_written_out_by_hand() -> None:
    model = build({"attack": FIXED})
    reference = build(None)
    loaded, samples = batch()
    (found,) = model.loss(**given(model)).values()
    expected = by_hand(reference, loaded, torch.cat([s.gt_label for s in samples]), steps=3)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    assert_same_gradients(model, reference)
    clean = sum(build(None).loss(**given(build(None))).values())
    assert found > clean + 0.01


@pytest.mark.parametrize("head", HEADS)
def test_the_attack_climbs_the_models_own_loss(head: str) -> None:
    model = build({"attack": {"preset": "pgd-10", "eps": 0.1}}, head=head)
    data = given(model, head)
    torch.manual_seed(3)
    found = model.parse_losses(model.loss(**data))[0]
    own = model.parse_losses(model.own_loss(**data))[0]
    assert found > own + 0.01

    reference, space = build(None, head=head), PixelSpace(model.data_preprocessor)
    torch.manual_seed(3)
    pixels = perturb(
        lambda pixels: sum(reference.loss(space.to_inputs(pixels), data["data_samples"]).values()),
        space.to_pixels(data["inputs"]),
        parse_attack({"preset": "pgd-10", "eps": 0.1}),
    )
    expected = sum(reference.loss(space.to_inputs(pixels), data["data_samples"]).values())
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_mixed_images_and_labels_are_attacked_as_they_are_mixed() -> None:
    augments = {"augments": [{"type": "Mixup", "alpha": 1.0}]}
    settings = {"head": "soft labels", "train_cfg": augments}
    model = build({"attack": "pgd-10"}, **settings)
    loaded, samples = batch()
    for sample in samples:
        sample.set_field(CLASSES, "num_classes", field_type="metainfo")
    data = model.data_preprocessor({"inputs": loaded, "data_samples": samples}, True)
    assert min(sample.gt_score.max() for sample in data["data_samples"]) < 1
    assert sum(model.loss(**data).values()) > sum(model.own_loss(**data).values())


@pytest.mark.parametrize(
    ("adversarial", "forward", "backward"),
    [
        ({"attack": "fast"}, 2, 2),
        ({"attack": "pgd-3"}, 4, 4),
        ({"attack": "pgd-10", "bn_mode": "eval"}, 11, 11),
        ({"attack": "pgd-3", "loss": "trades"}, 5, 5),
        ({"attack": "pgd-3", "loss": "trades", "bn_mode": "eval"}, 6, 5),
    ],
)
def test_a_step_costs_one_pass_more_than_the_attack_has_steps(
    adversarial: dict[str, Any], forward: int, backward: int
) -> None:
    model = build(adversarial)
    passes = count_passes(model.backbone)
    model.parse_losses(model.loss(**given(model)))[0].backward()
    assert passes == {"forward": forward, "backward": backward}


@pytest.mark.parametrize("loss", ["adversarial", "trades"])
def test_parameters_take_no_gradient_while_attacking(loss: str) -> None:
    model = build({"attack": "pgd-3", "loss": loss})
    model.backbone.first.bias.requires_grad_(False)
    model.head.fc.bias.grad = torch.ones(CLASSES)
    taken: list[Tensor] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(taken.append)
    total = model.parse_losses(model.loss(**given(model)))[0]
    assert not taken
    assert torch.equal(model.head.fc.bias.grad, torch.ones(CLASSES))
    assert model.head.fc.weight.grad is None
    total.backward()
    assert len(taken) == sum(p.requires_grad for p in model.parameters()) == 7
    assert not model.backbone.first.bias.requires_grad


@pytest.mark.parametrize(("mode", "seen"), [("train", 4), ("eval", 1)])
def test_batch_norms_see_the_attack_or_do_not(mode: str, seen: int) -> None:
    model = build({"attack": "pgd-3", "bn_mode": mode})
    model.loss(**given(model))
    assert model.backbone.norm.num_batches_tracked == seen
    assert all(module.training for module in model.modules())


def test_norms_that_are_frozen_stay_so() -> None:
    model = build({"attack": "pgd-3", "bn_mode": "eval"})
    model.backbone.norm.eval()
    model.loss(**given(model))
    assert model.backbone.norm.num_batches_tracked == 0
    assert not model.backbone.norm.training
    assert model.training


def test_the_mode_of_norms_is_put_back_after_an_error() -> None:
    model = build({"attack": "pgd-3", "bn_mode": "eval"})
    model.head.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.loss(**given(model))
    assert model.backbone.norm.training


def test_elsewhere_the_loss_is_the_classifiers_own() -> None:
    model, reference = build({"attack": "pgd-3"}), build(None)
    data = given(model)
    with torch.no_grad():
        assert torch.equal(model.loss(**data)["loss"], reference.loss(**data)["loss"])
    model.eval()
    reference.eval()
    assert torch.equal(model.loss(**data)["loss"], reference.loss(**data)["loss"])
    assert torch.equal(model(data["inputs"]), reference(data["inputs"]))


def test_the_model_stays_plain() -> None:
    model, reference = build({"attack": "fast"}), build(None)
    assert list(model.state_dict()) == list(reference.state_dict())
    assert isinstance(model, classifier_class("ImageClassifier"))
    twin = copy.deepcopy(model)
    reference.load_state_dict(twin.state_dict())
    assert twin.adversarial == model.adversarial


def test_trades_is_the_papers_loss() -> None:
    attack = {"type": "PGD", "eps": 0.06, "steps": 2, "step_size": 0.03}
    model = build({"attack": attack, "loss": "trades", "beta": 2.5})
    data = given(model)
    torch.manual_seed(5)
    found = model.loss(**data)

    reference, space = build(None), PixelSpace(model.data_preprocessor)
    scores = reference(data["inputs"])
    natural = F.cross_entropy(scores, torch.cat([s.gt_label for s in data["data_samples"]]))

    def apart(pixels: Tensor, target: Tensor) -> Tensor:
        log, target = reference(space.to_inputs(pixels)).log_softmax(1), target.softmax(1)
        return (target * (target.log() - log)).sum(1).mean()

    torch.manual_seed(5)
    pixels = perturb(
        lambda pixels: apart(pixels, scores.detach()),
        space.to_pixels(data["inputs"]),
        parse_attack(attack),
    )
    robust = 2.5 * apart(pixels, scores)
    assert found["loss_clean"].item() == pytest.approx(natural.item(), rel=1e-5)
    assert found["loss_trades"].item() == pytest.approx(robust.item(), rel=1e-2)
    total, shown = model.parse_losses(found)
    assert shown["loss"] == total, "what is logged as loss is what is trained on"
    total.backward()
    (natural + robust).backward()
    assert_same_gradients(model, reference)


@pytest.mark.parametrize("loss", ["adversarial", "trades"])
@pytest.mark.parametrize("bn_mode", ["train", "eval"])
def test_every_parameter_learns_in_mixed_precision(loss: str, bn_mode: str) -> None:
    adversarial = {"attack": {"preset": "pgd-3", "eps": 0.1}, "loss": loss, "bn_mode": bn_mode}
    gradients = []
    for enabled in (False, True):
        model = build(adversarial)
        data = given(model, count=32)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            total = model.parse_losses(model.loss(**data))[0]
        total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        assert all(bool(p.grad.any()) for n, p in model.named_parameters() if n != FLAT)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95


FLAT = "backbone.first.bias"
"""Batch norm follows, which takes it off again."""


def test_half_precision_loses_no_signs_of_images_that_are_classified_with_confidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def moved(half: bool) -> Tensor:
        """The signs of the steps that pixels take."""
        model = build({"attack": FIXED | {"steps": 1}})
        data = given(model, count=64)
        with torch.no_grad():  # scores of 13 more for the right class: a slope of 2e-6 an image
            for sample in data["data_samples"]:
                sample.set_gt_label(0)
            model.head.fc.bias[0] = 13.0
            model.head.fc.weight.mul_(0.1)
        seen: list[Tensor] = []
        model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(*inputs))
        with torch.autocast("cpu", torch.float16, enabled=half):
            model.loss(**data)
        return (seen[-1].detach() - data["inputs"]).sign()

    exact = moved(half=False)
    assert (exact != 0).float().mean() > 0.9
    assert (exact == moved(half=True)).float().mean() > 0.95
    monkeypatch.setattr(classifier, "_HALF_SCALE", 1.0)
    assert (exact == moved(half=True)).float().mean() < 0.8, "they are lost without a scale"


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_every_registered_classifier_can_be_trained(kind: str) -> None:
    common = {
        "type": "AdversarialClassifier",
        "classifier": kind,
        "adversarial": {"attack": "fast"},
    }
    if kind == "TimmClassifier":
        pytest.importorskip("timm")
        model = MODELS.build({**common, "model_name": "resnet18", "num_classes": CLASSES})
    elif kind == "HuggingFaceClassifier":
        pytest.skip("its models are downloaded")
    elif kind == "HeadlessClassifier":
        model = MODELS.build(common)
    else:
        model = build({"attack": "fast"}, type=kind)
    model.train()
    assert isinstance(model, AdversarialTraining)
    losses = model.loss(**given(model))
    assert sum(losses.values()) > sum(model.own_loss(**given(model)).values())


@pytest.mark.parametrize("bn_mode", ["train", "eval"])
def test_trades_of_a_classifier_without_a_head(bn_mode: str) -> None:
    model = MODELS.build(
        {
            "type": "AdversarialClassifier",
            "classifier": "HeadlessClassifier",
            "adversarial": {"attack": "pgd-3", "loss": "trades", "bn_mode": bn_mode},
        }
    ).train()
    losses = model.loss(**given(model))
    assert list(losses) == ["loss_clean", "loss_trades"]
    assert losses["loss_trades"] > 0


def test_images_of_another_scale_are_refused() -> None:
    model = build({"attack": "fast"})
    data = given(model)
    data["inputs"] = data["inputs"] * 300
    with pytest.raises(ConfigError, match=r"the pixels to attack run from .* not from 0 to 1"):
        model.loss(**data)


def test_activations_that_are_computed_anew_are_refused() -> None:
    backbone = {"type": "ResNet", "depth": 18, "base_channels": 4, "stem_channels": 4}
    with pytest.raises(ConfigError, match=r"set with_cp=False"):
        build({"attack": "fast"}, backbone={**backbone, "with_cp": True})


def test_scores_that_are_no_tensor_are_refused_by_trades() -> None:
    model = build({"attack": "fast", "loss": "trades"})
    model.head.forward = lambda features: list(features)
    with pytest.raises(ConfigError, match=r"LinearClsHead gives something else"):
        model.loss(**given(model))
