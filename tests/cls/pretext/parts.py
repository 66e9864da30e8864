"""Stands for backbones and necks without batch norms, and samples as data loaders give them."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn

CHANNELS = 5


class Flat(nn.Module):
    """A backbone of one linear layer, ``(N, C)``; of any square image of 3 channels."""

    def __init__(self, size: int = 2, channels: int = CHANNELS) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * size * size, channels)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(x.flatten(1)),)


def samples(**fields: Any) -> list[DataSample]:
    """Data samples with a value of each of ``fields``, such as ``gt_label`` or ``sample_idx``."""
    made = []
    for values in zip(*fields.values(), strict=True):
        sample = DataSample()
        for name, value in zip(fields, values, strict=True):
            if name == "gt_label":
                sample.set_gt_label(int(value))
            else:
                sample.set_field(int(value), name, field_type="metainfo")
        made.append(sample)
    return made


CONTRASTIVE = {
    "type": "mmpretrain.ContrastiveHead",
    "loss": {"type": "mmpretrain.CrossEntropyLoss"},
    "temperature": 0.07,
}


def npid(samples: int, negatives: int | None, **options: Any) -> nn.Module:
    """NPID on :class:`Flat`, without a neck."""
    from lth_cls.pretext import NPID

    return NPID(
        samples=samples,
        channels=CHANNELS,
        negatives=negatives,
        backbone=Flat(),
        head=CONTRASTIVE,
        data_preprocessor={"type": "mmpretrain.SelfSupDataPreprocessor"},
        **options,
    )


def exemplar(**head: Any) -> nn.Module:
    """Exemplar on :class:`Flat`, without a neck."""
    from lth_cls.pretext import Exemplar

    return Exemplar(
        backbone=Flat(),
        head={"type": "TripletMarginHead", "in_channels": CHANNELS, "out_channels": 4, **head},
        data_preprocessor={"type": "mmpretrain.SelfSupDataPreprocessor"},
    )


def s4l(head: str = "WholeBatchMultiTaskHead", classes: int = 3, **options: Any) -> nn.Module:
    """S4L on :class:`Flat`."""
    import lth_cls.pretext  # noqa: F401  (registers)
    from mmpretrain.registry import MODELS

    linear = {"type": "mmpretrain.LinearClsHead", "in_channels": CHANNELS}
    return MODELS.build(
        {
            "type": "mmpretrain.ImageClassifier",
            "backbone": Flat(),
            "head": {
                "type": head,
                "task_heads": {
                    "label": {**linear, "num_classes": classes},
                    "rotation": {**linear, "num_classes": 4},
                },
            },
            "data_preprocessor": {"type": "SemiSupervisedRotationPreprocessor", **options},
        }
    )
