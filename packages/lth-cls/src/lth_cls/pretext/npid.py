"""NPID: every image is a class of its own, told by a memory of all images' embeddings.

Wu, Xiong, Yu and Lin (2018); in paper B a pruning task on ImageNet (section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lth_core.errors import ConfigError
from mmengine.dist import all_gather
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F


@MODELS.register_module()
class NPID(BaseSelfSupervisor):
    """Non-parametric discrimination of instances.

    The head is mmpretrain's ``ContrastiveHead`` (its temperature in the paper: 0.07), given the
    cosines of an image's embedding with its own place in the memory, and with other places. After
    each step the places of the batch move towards the embeddings just seen, on all processes alike.

    Args:
        samples: Size of the data set, which the memory has a place for each of.
        channels: Of the embeddings that the neck gives.
        negatives: How many other places each image is compared with, drawn anew at each step; None
            for all of them: the softmax over the whole data set.
        momentum: Share of a place that stays at an update.
        **kwargs: Of mmpretrain's ``BaseSelfSupervisor``.

    Raises:
        ConfigError: If a number is out of range.
    """

    bank: Tensor

    def __init__(
        self,
        samples: int,
        channels: int = 128,
        negatives: int | None = 16384,
        momentum: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if type(samples) is not int or samples < 2:
            raise ConfigError(
                f"NPID: samples={samples!r}; give the size of the data set, from 2 on"
            )
        if negatives is not None and not 0 < negatives < samples:
            raise ConfigError(
                f"NPID: negatives={negatives!r} of {samples} samples; use a number below that, or "
                "None for all others"
            )
        if not 0 <= momentum < 1:
            raise ConfigError(f"NPID: momentum={momentum!r}; use a number from 0 to below 1")
        self.negatives = negatives
        self.momentum = momentum
        self.register_buffer("bank", F.normalize(torch.randn(samples, channels), dim=1))

    def loss(
        self, inputs: list[Tensor] | Tensor, data_samples: Sequence[DataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """The loss of a batch; moves its places in the memory.

        Args:
            inputs: ``(N, 3, H, W)``, or a list of one such tensor.
            data_samples: N, with ``sample_idx``, the place in the data set.
            **kwargs: As mmpretrain's.

        Returns:
            ``loss``, 0-d.

        Raises:
            ConfigError: If a sample is not of the data set whose size was given.
        """
        images = inputs[0] if isinstance(inputs, list) else inputs
        places = self._places(data_samples, images.device)
        embedded = F.normalize(self.neck(self.backbone(images))[-1], dim=1)
        mine = (embedded * self.bank[places]).sum(1, keepdim=True)
        others = torch.einsum("nc,nkc->nk", embedded, self.bank[self._others(places)])
        losses = {"loss": self.head.loss(mine, others)}
        self._update(places, embedded.detach())
        return losses

    def _places(self, data_samples: Sequence[DataSample], device: torch.device) -> Tensor:
        if any("sample_idx" not in sample for sample in data_samples):
            raise ConfigError("NPID needs sample_idx among the meta_keys of PackInputs")
        indices = [int(sample.sample_idx) for sample in data_samples]
        if max(indices) >= len(self.bank):
            raise ConfigError(
                f"NPID: sample {max(indices)} of the data is none of the {len(self.bank)} that the "
                "memory has places for; set the model's samples to the size of the data set"
            )
        return torch.tensor(indices, device=device)

    def _others(self, places: Tensor) -> Tensor:
        """``(N, K)`` places other than each sample's own."""
        count = len(self.bank) - 1
        if self.negatives is None:
            drawn = torch.arange(count, device=places.device).expand(len(places), count)
        else:
            drawn = torch.randint(count, (len(places), self.negatives), device=places.device)
        return drawn + (drawn >= places[:, None])

    @torch.no_grad()
    def _update(self, places: Tensor, embedded: Tensor) -> None:
        # One process after the other: where a sampler has dealt an image to two of them, all must
        # keep the same one.
        for at, seen in zip(all_gather(places), all_gather(embedded), strict=True):
            moved = self.momentum * self.bank[at] + (1 - self.momentum) * seen
            self.bank[at] = F.normalize(moved, dim=1)
