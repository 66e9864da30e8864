"""RotNet and S4L: turns against numpy's, the losses against their definitions, and the metric."""

from __future__ import annotations

import math
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_cls.pretext import (
    RotationAccuracy,
    RotationPreprocessor,
    SemiSupervisedRotationPreprocessor,
    turned,
)
from torch import nn

from . import parts

PIXELS = {"mean": [10.0, 20.0, 30.0], "std": [2.0, 4.0, 5.0]}


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    size=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_turns_are_numpys(n: int, channels: int, size: int, seed: int) -> None:
    images = np.random.default_rng(seed).random((n, channels, size, size), dtype=np.float32)
    found = turned(torch.from_numpy(images)).numpy()
    assert found.shape == (4 * n, channels, size, size)
    for turn in range(4):
        for place in range(n):
            for channel in range(channels):
                want = np.rot90(images[place, channel], turn)
                assert np.array_equal(found[turn * n + place, channel], want)


def test_turns_are_counter_clockwise() -> None:
    picture = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    quarter = turned(picture)[1, 0]
    assert quarter.tolist() == [[2, 4], [1, 3]]


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(lth.LTHError, match="4 x 3 pixels cannot be turned"):
        turned(torch.rand(1, 3, 4, 3))


@pytest.mark.parametrize("training", [True, False])
def test_preprocessor_turns_normalised_images_and_labels_them(training: bool) -> None:
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    prepare = RotationPreprocessor(**PIXELS, to_rgb=True)
    data = {"inputs": images, "data_samples": parts.samples(gt_label=[7, 8, 9])}
    found = prepare(data, training)
    rgb = images.numpy()[:, ::-1].astype(np.float64)
    mean, std = (np.reshape(PIXELS[key], (3, 1, 1)) for key in ("mean", "std"))
    want = np.concatenate([np.rot90((rgb - mean) / std, k, (2, 3)) for k in range(4)])
    assert np.allclose(found["inputs"].numpy(), want, atol=1e-5)
    labels = [int(sample.gt_label) for sample in found["data_samples"]]
    assert labels == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("kind", [RotationPreprocessor, SemiSupervisedRotationPreprocessor])
@pytest.mark.parametrize(
    "setting", [{"batch_augments": {"augments": {"type": "Mixup"}}}, {"to_onehot": True}]
)
def test_what_mixes_images_is_refused(kind: Any, setting: dict[str, Any]) -> None:
    with pytest.raises(lth.LTHError, match=f"{kind.__name__} has no {next(iter(setting))}"):
        kind(**setting)


# The metric ---------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    batches=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_accuracy_is_the_share_of_turns_told_right(batches: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    metric = RotationAccuracy()
    right = 0
    for n in batches:
        scores = random.random((4 * n, 4))
        for place in range(4 * n):
            right += all(scores[place] <= scores[place, place // n])
        metric.process(
            None,
            [
                {"pred_score": torch.tensor(score), "gt_label": torch.tensor([place // n])}
                for place, score in enumerate(scores)
            ],
        )
    # One result an image, which is what mmengine drops the padding of samplers by.
    assert len(metric.results) == sum(batches)
    found = metric.evaluate(sum(batches))
    assert found == {"rotation/top1": pytest.approx(100 * right / (4 * sum(batches)))}


@pytest.mark.parametrize("turns", [[0, 1, 2], [0, 1, 2, 2], [0, 0, 1, 1, 2, 2, 3, 1], [None] * 4])
def test_accuracy_of_images_that_were_not_turned_is_refused(turns: list[int | None]) -> None:
    batch = [
        {"pred_score": torch.rand(4)} | ({} if t is None else {"gt_label": torch.tensor([t])})
        for t in turns
    ]
    with pytest.raises(lth.LTHError, match="RotationPreprocessor"):
        RotationAccuracy().process(None, batch)


# S4L ----------------------------------------------------------------------------------------------


def cross_entropy(logits: torch.Tensor, label: int) -> float:
    """Of one image, in double precision."""
    row = logits.detach().double().tolist()
    top = max(row)
    return math.log(sum(math.exp(value - top) for value in row)) + top - row[label]


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 2), min_size=1, max_size=6),
    turned_labels=st.booleans(),
    head=st.sampled_from(["WholeBatchMultiTaskHead", "MultiTaskHead"]),
    seed=st.integers(0, 2**31),
)
def test_s4l_is_labels_on_the_labelled_and_turns_on_all(
    labels: list[int], turned_labels: bool, head: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model = parts.s4l(head, turned_labels=turned_labels)
    images = torch.rand(len(labels), 3, 2, 2)
    data = {"inputs": images, "data_samples": parts.samples(gt_label=labels)}
    losses = model(**model.data_preprocessor(data, training=True), mode="loss")
    turns, classes = [], []
    for turn in range(4):
        for image, label in zip(images, labels, strict=True):
            array = np.ascontiguousarray(np.rot90(image.numpy(), turn, (1, 2)))
            features = model.backbone(torch.from_numpy(array)[None])[0]
            heads = model.head.task_heads
            turns.append(cross_entropy(heads["rotation"].fc(features)[0], turn))
            if label >= 0 and (turn == 0 or turned_labels):
                classes.append(cross_entropy(heads["label"].fc(features)[0], label))
    total, logged = model.parse_losses(losses)
    want = sum(turns) / len(turns)
    assert losses["rotation_loss"].item() == pytest.approx(want, rel=1e-4)
    label_loss = sum(classes) / len(classes) if classes else 0.0
    assert losses["label_loss"].item() == pytest.approx(label_loss, rel=1e-4)
    assert total.item() == pytest.approx(want + label_loss, rel=1e-4)
    assert "loss" in logged


def test_no_label_in_a_batch_leaves_every_layer_in_the_graph() -> None:
    model = parts.s4l()
    data = {"inputs": torch.rand(2, 3, 2, 2), "data_samples": parts.samples(gt_label=[-1, -1])}
    losses = model(**model.data_preprocessor(data, training=True), mode="loss")
    sum(value for name, value in losses.items() if "loss" in name).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    assert not gradients["head.task_heads.label.fc.weight"].any()
    assert gradients["head.task_heads.rotation.fc.weight"].any()


def test_s4l_validates_labels_on_upright_images() -> None:
    model = parts.s4l()
    images = torch.rand(2, 3, 2, 2)
    data = {"inputs": images, "data_samples": parts.samples(gt_label=[2, 0])}
    prepared = model.data_preprocessor(data, training=False)
    assert torch.equal(prepared["inputs"], images)
    predicted = model(**prepared, mode="predict")
    assert [int(each.label.gt_label) for each in predicted] == [2, 0]
    assert [each.label.eval_mask for each in predicted] == [True, True]
    assert [each.rotation.eval_mask for each in predicted] == [False, False]
    logits = model.head.task_heads["label"].fc(model.backbone(images)[0])
    assert torch.allclose(predicted[1].label.pred_score, logits[1].softmax(0))


def test_prunable_is_the_backbone_alone() -> None:
    for model in (parts.s4l(), parts.npid(9, None), parts.exemplar()):
        assert isinstance(model, nn.Module)
        assert lth.prunable(model, stem=True, kinds=("conv", "linear")) == (
            "backbone.layer.weight",
        )
