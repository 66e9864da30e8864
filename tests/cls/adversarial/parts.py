"""Small classifiers, batches, and counters of passes, for the tests of adversarial training."""

from __future__ import annotations

from typing import Any

import lth_cls  # noqa: F401  (registers)
import mmpretrain.models  # noqa: F401  (registers)
import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD, CLASSES = [120.0, 110.0, 100.0], [60.0, 55.0, 50.0], 5

LINEAR_HEAD = {"type": "LinearClsHead", "num_classes": CLASSES, "in_channels": 8}
HEADS: dict[str, dict[str, Any]] = {
    "labels": LINEAR_HEAD,
    "smoothed": LINEAR_HEAD
    | {"loss": {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": CLASSES}},
    "soft labels": LINEAR_HEAD | {"loss": {"type": "CrossEntropyLoss", "use_soft": True}},
    "several labels": LINEAR_HEAD
    | {
        "type": "MultiLabelLinearClsHead",
        "loss": {"type": "CrossEntropyLoss", "use_sigmoid": True},
    },
}


@MODELS.register_module()
class SmallBackbone(nn.Module):
    """Two convolutions and batch norm; features ``(N, 8)``."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(drop)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """Features of one stage, as mmpretrain's backbones give them."""
        hidden = self.drop(torch.tanh(self.norm(self.first(inputs))))
        return (10 * torch.tanh(self.second(hidden)).mean((2, 3)),)


@MODELS.register_module()
class HeadlessClassifier(BaseClassifier):
    """A classifier that has no parts but a network, as mmpretrain's for timm's models."""

    def __init__(self, data_preprocessor: dict[str, Any] | None = None) -> None:
        super().__init__(
            data_preprocessor={
                "type": "mmpretrain.ClsDataPreprocessor",
                **(data_preprocessor or {}),
            }
        )
        self.backbone = SmallBackbone()
        self.classes = nn.Linear(8, CLASSES)

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"
    ) -> Any:
        """As mmpretrain's."""
        return self.loss(inputs, data_samples) if mode == "loss" else self._scores(inputs)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Features."""
        return self.backbone(inputs)[0]

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Cross-entropy."""
        return self._get_loss(self._scores(inputs), data_samples)

    def _scores(self, inputs: Tensor) -> Tensor:
        return self.classes(self.extract_feat(inputs))

    def _get_loss(self, scores: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        labels = torch.cat([sample.gt_label for sample in data_samples])
        return {"loss": F.cross_entropy(scores, labels)}


def plain(head: str = "labels", seed: int = 0, **settings: Any) -> dict[str, Any]:
    """The config of a plain classifier."""
    return {
        "type": "ImageClassifier",
        "backbone": {"type": "SmallBackbone"},
        "head": dict(HEADS[head]),
        "data_preprocessor": {"mean": MEAN, "std": STD},
        **settings,
    }


def build(adversarial: dict[str, Any] | None, seed: int = 0, **settings: Any) -> Any:
    """A classifier with random weights, plain or trained adversarially, in training mode."""
    model = plain(**settings)
    if adversarial is not None:
        model |= {
            "type": "AdversarialClassifier",
            "classifier": model["type"],
            "adversarial": adversarial,
        }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS.build(model).train()


def batch(head: str = "labels", count: int = 6, seed: int = 1) -> tuple[Tensor, list[DataSample]]:
    """Images as loaded, from 0 to 255, and their labels."""
    noise = torch.Generator().manual_seed(seed)
    loaded = torch.randint(0, 256, (count, 3, 6, 6), generator=noise, dtype=torch.uint8)
    samples = []
    for number in range(count):
        sample = DataSample()
        if head == "soft labels":
            sample.set_gt_score(torch.rand(CLASSES, generator=noise).softmax(0))
        elif head == "several labels":
            sample.set_gt_label([number % CLASSES, (number + 2) % CLASSES])
            sample.set_field(CLASSES, "num_classes", field_type="metainfo")
        else:
            sample.set_gt_label(number % CLASSES)
        samples.append(sample)
    return loaded, samples


def given(model: Any, head: str = "labels", **settings: Any) -> dict[str, Any]:
    """A batch as the model gets it."""
    loaded, samples = batch(head, **settings)
    return model.data_preprocessor({"inputs": loaded, "data_samples": samples}, model.training)


def count_passes(module: nn.Module) -> dict[str, int]:
    """Counts, from now on, how often a module is run forward and backward."""
    passes = {"forward": 0, "backward": 0}

    def forward(*_: Any) -> None:
        passes["forward"] += 1

    def backward(*_: Any) -> None:
        passes["backward"] += 1

    module.register_forward_hook(forward)
    module.register_full_backward_pre_hook(backward)
    return passes
