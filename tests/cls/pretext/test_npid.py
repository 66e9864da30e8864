"""NPID: the softmax against its definition, and the memory by hand."""

from __future__ import annotations

from typing import Any

import lth_core as lth
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from . import parts


def loss_of(model: Any, images: torch.Tensor, places: list[int]) -> torch.Tensor:
    return model([images], parts.samples(sample_idx=places), mode="loss")["loss"]


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(2, 12),
    count=st.integers(1, 6),
    temperature=st.sampled_from([0.07, 0.5]),
    seed=st.integers(0, 2**31),
)
def test_softmax_over_all_is_cross_entropy_over_the_memory(
    samples: int, count: int, temperature: float, seed: int
) -> None:
    torch.manual_seed(seed)
    model: Any = parts.npid(samples, None)
    model.head.temperature = temperature
    images = torch.rand(count, 3, 2, 2)
    places = torch.randint(samples, (count,))
    bank = model.bank.clone()
    assert torch.allclose(bank.norm(dim=1), torch.ones(samples))
    loss = loss_of(model, images, places.tolist())
    loss.backward()
    found = model.backbone.layer.weight.grad.clone()

    model.zero_grad()
    total = 0.0
    for image, place in zip(images, places, strict=True):
        embedded = model.backbone(image[None])[0][0]
        embedded = embedded / embedded.norm()
        logits = torch.stack([embedded @ bank[i] for i in range(samples)]) / temperature
        total = total + logits.exp().sum().log() - logits[place]
    want = total / count
    assert loss.item() == pytest.approx(want.item(), rel=1e-3, abs=1e-5)
    # The gradient is of the memory as it was, although it has moved before.
    want.backward()
    assert torch.allclose(found, model.backbone.layer.weight.grad, rtol=1e-3, atol=1e-5)


def test_negatives_are_drawn_from_all_places_but_the_images_own() -> None:
    torch.manual_seed(0)
    model: Any = parts.npid(5, 4)
    model.bank = torch.eye(5)
    embedded = torch.arange(1.0, 6.0).expand(5, 5)  # the cosine with place k says which: k + 1
    seen: list[set[int]] = [set() for _ in range(5)]
    for _ in range(50):
        others = model._with_others(embedded, torch.arange(5))
        assert others.shape == (5, 4)
        for place in range(5):
            seen[place] |= {round(value) - 1 for value in others[place].tolist()}
    assert seen == [set(range(5)) - {place} for place in range(5)]


def test_negatives_are_drawn_evenly_and_anew() -> None:
    torch.manual_seed(0)
    model: Any = parts.npid(5, 4)
    model.bank = torch.eye(5)
    embedded = torch.arange(1.0, 6.0).expand(2000, 5)
    places = torch.full((2000,), 2)
    first = model._with_others(embedded, places)
    assert not torch.equal(first, model._with_others(embedded, places))
    counts = torch.bincount(first.round().long().flatten() - 1, minlength=5)
    # 8,000 draws of four places: 2,000 each, with a deviation of 39.
    assert counts[2] == 0
    assert all(abs(int(counts[k]) - 2000) < 200 for k in (0, 1, 3, 4))


def test_sampled_softmax_is_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model: Any = parts.npid(6, 3)
    bank = model.bank.clone()
    images, places = torch.rand(2, 3, 2, 2), [4, 0]
    drawn = torch.tensor([[0, 4, 4], [0, 1, 4]])  # of the five others, in order
    others = [[0, 5, 5], [1, 2, 5]]
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: drawn)
    loss = loss_of(model, images, places)
    want = 0.0
    for image, place, rest in zip(images, places, others, strict=True):
        embedded = F.normalize(model.backbone(image[None])[0][0], dim=0)
        logits = torch.stack([embedded @ bank[k] for k in (place, *rest)]) / 0.07
        want += (logits.exp().sum().log() - logits[0]).item() / 2
    assert loss.item() == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("negatives", [None, 2])
def test_places_move_by_hand(negatives: int | None) -> None:
    model: Any = parts.npid(4, negatives, momentum=0.75)
    before = model.bank.clone()
    images = torch.rand(2, 3, 2, 2)
    loss_of(model, images, [3, 1])
    for place, image in ((3, images[0]), (1, images[1])):
        embedded = model.backbone(image[None])[0][0].detach()
        moved = 0.75 * before[place] + 0.25 * embedded / embedded.norm()
        assert torch.allclose(model.bank[place], moved / moved.norm(), atol=1e-6)
    assert torch.equal(model.bank[[0, 2]], before[[0, 2]])
    assert not model.bank.requires_grad


def test_of_an_image_that_is_dealt_twice_the_last_one_counts() -> None:
    model: Any = parts.npid(4, None, momentum=0.5)
    before = model.bank.clone()
    embedded = F.normalize(torch.randn(3, parts.CHANNELS), dim=1)
    model._update(torch.tensor([2, 0, 2]), embedded)
    moved = F.normalize(0.5 * before[2] + 0.5 * embedded[2], dim=0)
    assert torch.allclose(model.bank[2], moved)


def test_half_precision_does_not_reach_the_memory() -> None:
    torch.manual_seed(0)
    for negatives in (None, 3):
        model: Any = parts.npid(6, negatives)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, torch.rand(2, 3, 2, 2), [0, 5])
        assert loss.dtype == model.bank.dtype == torch.float32
        assert torch.allclose(model.bank.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1, "negatives": None}, "samples=1"),
        ({"samples": 5.0, "negatives": None}, "samples=5.0"),
        ({"samples": 5, "negatives": 5}, "a whole number from 1 to 4"),
        ({"samples": 5, "negatives": 0}, "negatives=0"),
        ({"samples": 5, "negatives": 2.5}, "negatives=2.5"),
        ({"samples": 5, "negatives": None, "momentum": 1.0}, "momentum=1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(lth.LTHError, match=message):
        parts.npid(**settings)


def test_samples_that_have_no_place_are_refused() -> None:
    model = parts.npid(3, None)
    with pytest.raises(lth.LTHError, match="sample 3 of the data is none of the 3"):
        loss_of(model, torch.rand(2, 3, 2, 2), [0, 3])
    with pytest.raises(lth.LTHError, match="sample_idx among the meta_keys"):
        model([torch.rand(1, 3, 2, 2)], parts.samples(gt_label=[0]), mode="loss")
    with pytest.raises(lth.LTHError, match="one view of each image, not 2"):
        model([torch.rand(1, 3, 2, 2)] * 2, parts.samples(sample_idx=[0]), mode="loss")
