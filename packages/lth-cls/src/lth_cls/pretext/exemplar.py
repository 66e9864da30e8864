"""Exemplar: two crops of one image are nearer to each other than to crops of other images.

Dosovitskiy et al. (2014), in the form with triplets of Doersch and Zisserman (2017), which paper B
prunes with (section 3).
"""

from __future__ import annotations

from typing import Any

import torch
from lth_core.errors import ConfigError
from mmengine.model import BaseModule
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class TripletMarginHead(BaseModule):
    """A linear layer, and a margin between distances within images and between them.

    The loss is the mean over all triplets of a batch, anchor a, p another view of its image, n a
    view of another image, of ``max(0, margin + d(a, p) - d(a, n))``, where d is the cosine
    distance, 1 - cos.

    Args:
        in_channels: Of the features.
        out_channels: Of the embeddings that are compared.
        margin: Doersch and Zisserman's is 0.5.
        init_cfg: As mmengine's.

    Raises:
        ConfigError: If ``margin`` is not positive: embeddings that are all alike would do.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 128,
        margin: float = 0.5,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not margin > 0:
            raise ConfigError(f"TripletMarginHead: margin={margin!r}; use a number above 0")
        self.fc = nn.Linear(in_channels, out_channels)
        self.margin = margin

    def loss(self, features: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            features: ``(V, N, C)``: V views of N images.

        Returns:
            0-d.

        Raises:
            ConfigError: If there are no triplets: fewer than two views or images.
        """
        views, images = features.shape[:2]
        if views < 2 or images < 2:
            raise ConfigError(
                f"a triplet takes two views of an image and another image; the batch has {views} "
                f"view(s) of {images} image(s)"
            )
        # Differences of distances are small: not in half precision.
        with torch.autocast(features.device.type, enabled=False):
            embedded = F.normalize(self.fc(features.float()).flatten(0, 1), dim=1)
            distances = 1 - embedded @ embedded.T
        image = torch.arange(images, device=features.device).repeat(views)
        same = image[:, None] == image
        itself = torch.eye(len(image), dtype=torch.bool, device=features.device)
        near = distances[same & ~itself].view(len(image), views - 1, 1)
        far = distances[~same].view(len(image), 1, -1)
        return (self.margin + near - far).clamp(min=0).mean()


@MODELS.register_module()
class Exemplar(BaseSelfSupervisor):
    """A self-supervisor whose head compares views of a batch, as :class:`TripletMarginHead`.

    A backbone that gives ``(N, C)`` needs no neck. Several processes compare the views of their own
    images, so that with paper B's 48 images a GPU each has 47 others.
    """

    def loss(self, inputs: list[Tensor], data_samples: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            inputs: V tensors ``(N, 3, H, W)``: the views.
            data_samples: Not used.
            **kwargs: As mmpretrain's.

        Returns:
            ``loss``, 0-d.

        Raises:
            ConfigError: If the batch is of single images.
        """
        if isinstance(inputs, Tensor):
            raise ConfigError(
                "Exemplar needs several views of each image; wrap the pipeline's random transforms "
                "in MultiView, as in configs/_base_/datasets/imagenet_exemplar.py"
            )
        features = self.backbone(torch.cat(inputs))
        features = (self.neck(features) if self.with_neck else features)[-1]
        return {"loss": self.head.loss(features.view(len(inputs), len(inputs[0]), -1))}
