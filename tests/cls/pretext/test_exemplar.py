"""Exemplar: the loss against its definition, triplet by triplet."""

from __future__ import annotations

from typing import Any

import lth_core as lth
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_cls.pretext import TripletMarginHead

from . import parts


def by_definition(head: TripletMarginHead, features: torch.Tensor) -> float:
    """The mean over triplets of ``max(0, margin + d(a, p) - d(a, n))``, d one minus the cosine."""
    with torch.no_grad():
        embedded = head.fc(features).double()
    views, images = features.shape[:2]
    losses = []
    for image in range(images):
        for anchor in range(views):
            for positive in range(views):
                if positive == anchor:
                    continue
                for other in range(images):
                    if other == image:
                        continue
                    for negative in range(views):
                        a, p, n = (
                            embedded[anchor, image],
                            embedded[positive, image],
                            embedded[negative, other],
                        )
                        near = 1 - torch.cosine_similarity(a, p, dim=0).item()
                        far = 1 - torch.cosine_similarity(a, n, dim=0).item()
                        losses.append(max(0.0, head.margin + near - far))
    return sum(losses) / len(losses)


@settings(max_examples=25, deadline=None)
@given(
    views=st.integers(2, 4),
    images=st.integers(2, 5),
    channels=st.integers(1, 6),
    margin=st.sampled_from([0.1, 0.5, 2.0]),
    seed=st.integers(0, 2**31),
)
def test_loss_is_the_definition(
    views: int, images: int, channels: int, margin: float, seed: int
) -> None:
    torch.manual_seed(seed)
    head = TripletMarginHead(channels, 4, margin)
    features = torch.randn(views, images, channels)
    want = by_definition(head, features)
    assert head.loss(features).item() == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_model_gives_the_head_views_by_image() -> None:
    torch.manual_seed(0)
    model: Any = parts.exemplar()
    views = [torch.rand(3, 3, 2, 2) for _ in range(2)]
    loss = model(views, None, mode="loss")["loss"]
    features = torch.stack([model.backbone(view)[0] for view in views])
    assert loss.item() == pytest.approx(by_definition(model.head, features), rel=1e-4)
    loss.backward()
    assert model.backbone.layer.weight.grad.any()


def test_neck_pools_what_the_backbone_gives() -> None:
    torch.manual_seed(0)
    model: Any = parts.exemplar()
    model.backbone = torch.nn.Conv2d(3, parts.CHANNELS, 1)
    model.neck = torch.nn.AdaptiveAvgPool2d(1)
    model.neck.forward = lambda x: (x.mean((2, 3)),)
    views = [torch.rand(3, 3, 2, 2) for _ in range(2)]
    features = torch.stack([model.backbone(view).mean((2, 3)) for view in views])
    want = by_definition(model.head, features)
    assert model(views, None, mode="loss")["loss"].item() == pytest.approx(want, rel=1e-4)


def test_half_precision_does_not_reach_the_distances() -> None:
    torch.manual_seed(0)
    model: Any = parts.exemplar()
    views = [torch.rand(4, 3, 2, 2) for _ in range(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(views, None, mode="loss")["loss"]
        features = torch.stack([model.backbone(view)[0] for view in views])
    assert features.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_definition(model.head, features.float()), rel=1e-4)


@pytest.mark.parametrize(("views", "images"), [(1, 3), (2, 1)])
def test_no_triplet_is_an_error(views: int, images: int) -> None:
    with pytest.raises(lth.LTHError, match=rf"{views} view\(s\) of {images} image\(s\)"):
        TripletMarginHead(3).loss(torch.rand(views, images, 3))


def test_single_images_are_an_error() -> None:
    with pytest.raises(lth.LTHError, match="MultiView"):
        parts.exemplar()(torch.rand(2, 3, 2, 2), None, mode="loss")


@pytest.mark.parametrize("margin", [0, -0.5, float("nan")])
def test_margin_must_be_positive(margin: float) -> None:
    with pytest.raises(lth.LTHError, match="margin"):
        TripletMarginHead(3, margin=margin)
