"""What is attacked is what decides: scores of several kinds of classifiers against their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lth_cls.evaluation.victim import Victim, frozen, labels_of
from lth_core.errors import ConfigError
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

PREPROCESSOR = {"mean": [120.0, 110.0, 100.0], "std": [60.0, 65.0, 70.0], "to_rgb": True}
RESNET = {"type": "ResNet", "depth": 18, "stem_channels": 4, "base_channels": 4}
POOL = {"type": "GlobalAveragePooling"}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "linear": {
        "backbone": RESNET,
        "neck": POOL,
        "head": {"type": "LinearClsHead", "num_classes": 5, "in_channels": 32},
    },
    "stacked": {
        "backbone": RESNET,
        "neck": POOL,
        "head": {
            "type": "StackedLinearClsHead",
            "num_classes": 5,
            "in_channels": 32,
            "mid_channels": [8],
        },
    },
    "margin": {
        "backbone": RESNET,
        "neck": POOL,
        "head": {"type": "ArcFaceClsHead", "num_classes": 5, "in_channels": 32},
    },
    "transformer": {
        "backbone": {
            "type": "VisionTransformer",
            "arch": {
                "embed_dims": 16,
                "num_layers": 2,
                "num_heads": 2,
                "feedforward_channels": 32,
            },
            "img_size": 32,
            "patch_size": 8,
        },
        "head": {"type": "VisionTransformerClsHead", "num_classes": 5, "in_channels": 16},
    },
}


@MODELS.register_module()
class Upside(BaseModule):
    """A head that predicts the class of the lowest score."""

    def forward(self, features: tuple[Tensor]) -> Tensor:
        return features[-1].flatten(1)[:, :5]

    def predict(self, features: tuple[Tensor], samples: list[DataSample]) -> list[DataSample]:
        found = self(features).argmin(1)
        return [each.set_pred_label(k) for each, k in zip(samples, found, strict=True)]


def build(**parts: Any) -> Any:
    torch.manual_seed(0)
    model = {"type": "ImageClassifier", "data_preprocessor": PREPROCESSOR, **parts}
    return MODELS.build({"_scope_": "mmpretrain", **model}).eval()


def batch() -> dict[str, Any]:
    noise = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (4, 3, 32, 32), generator=noise, dtype=torch.uint8)
    return {"inputs": pictures, "data_samples": [DataSample().set_gt_label(k) for k in range(4)]}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_are_those_of_its_predictions(name: str) -> None:
    model = build(**CLASSIFIERS[name])
    with torch.no_grad():
        expected = torch.stack([each.pred_score for each in model.val_step(batch())])
        data = model.data_preprocessor(batch())
        victim = Victim(model)
        pixels = victim.space.to_pixels(data["inputs"])
        found = victim(pixels).softmax(1)
        again = victim.predict(pixels, data["data_samples"])
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(torch.stack([each.pred_score for each in again]), expected, atol=1e-4)
    assert all("pred_score" not in each for each in data["data_samples"])
    victim.check(pixels, data["data_samples"])
    assert labels_of(data["data_samples"]).tolist() == [0, 1, 2, 3]


def test_a_model_that_decides_by_other_scores_is_refused() -> None:
    model = build(backbone=RESNET, neck=POOL, head={"type": "Upside"})
    data = model.data_preprocessor(batch())
    victim = Victim(model)
    with pytest.raises(ConfigError, match="not the one of its largest score"):
        victim.check(victim.space.to_pixels(data["inputs"]), data["data_samples"])


def test_a_model_without_scores_is_refused() -> None:
    victim = Victim(build(backbone=RESNET, neck=POOL))
    with pytest.raises(ConfigError, match="not one number for each image and class"):
        victim(torch.rand(2, 3, 32, 32))


def test_images_of_several_classes_are_refused() -> None:
    for sample in (DataSample(), DataSample().set_gt_label([0, 1])):
        with pytest.raises(ConfigError, match="one class each"):
            labels_of([sample])


def test_frozen_puts_back_what_was_mixed_also_after_an_error() -> None:
    model = build(**CLASSIFIERS["linear"])
    model.train()
    model.backbone.layer1.eval()
    model.head.fc.weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    wanted = [each.requires_grad for each in model.parameters()]

    def fail() -> None:
        with frozen(model):
            assert not any(module.training for module in model.modules())
            assert not any(each.requires_grad for each in model.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [module.training for module in model.modules()] == modes
    assert [each.requires_grad for each in model.parameters()] == wanted
