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
    cosines of an image's embedding with its own place in the memory, and with other places: the
    non-parametric softmax, over as many places as are drawn. After each step the places of the
    batch move towards the embeddings just seen, on all processes alike.

    The memory is part of the model's state, so that checkpoints hold it and a rewind sets it back
    to the same moment as the weights.

    Args:
        samples: Size of the data set, which the memory has a place for each of. Places are told
            by ``sample_idx``, so the data set must not be put together from several.
        channels: Of the embeddings that the neck gives.
        negatives: How many other places each image is compared with, drawn anew at each step, with
            replacement; None for all of them: the softmax over the whole data set.
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
        if negatives is not None and not (type(negatives) is int and 0 < negatives < samples):
            raise ConfigError(
                f"NPID: negatives={negatives!r} of {samples} samples; use a whole number from 1 to "
                f"{samples - 1}, or None for all others"
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
            ConfigError: If a sample is not of the data set whose size was given, or images come in
                several views.
        """
        if isinstance(inputs, list):
            if len(inputs) != 1:
                raise ConfigError(f"NPID takes one view of each image, not {len(inputs)}")
            inputs = inputs[0]
        places = self._places(data_samples, inputs.device)
        features = self.backbone(inputs)
        features = (self.neck(features) if self.with_neck else features)[-1]
        # The memory is in single precision, and so is all that is compared with it.
        with torch.autocast(features.device.type, enabled=False):
            embedded = F.normalize(features.float(), dim=1)
            mine = (embedded * self.bank[places]).sum(1, keepdim=True)
            losses = {"loss": self.head.loss(mine, self._with_others(embedded, places))}
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

    def _with_others(self, embedded: Tensor, places: Tensor) -> Tensor:
        """``(N, K)`` cosines with places other than each sample's own."""
        count = len(self.bank) - 1
        if self.negatives is None:
            drawn = torch.arange(count, device=places.device).expand(len(places), count)
            # A copy, since the update comes before the gradient.
            return (embedded @ self.bank.clone().T).gather(1, _leaving_out(places, drawn))
        drawn = torch.randint(count, (len(places), self.negatives), device=places.device)
        return torch.einsum("nc,nkc->nk", embedded, self.bank[_leaving_out(places, drawn)])

    @torch.no_grad()
    def _update(self, places: Tensor, embedded: Tensor) -> None:
        places, embedded = torch.cat(all_gather(places)), torch.cat(all_gather(embedded))
        # A sampler may deal an image twice. Which of two writes to one place wins is not defined on
        # a GPU, and all processes must keep the same one: the last.
        again = (places[:, None] == places).triu(1).any(1)
        places, embedded = places[~again], embedded[~again]
        moved = self.momentum * self.bank[places] + (1 - self.momentum) * embedded
        self.bank[places] = F.normalize(moved, dim=1)


def _leaving_out(places: Tensor, drawn: Tensor) -> Tensor:
    """Numbers of all places, from numbers ``(N, K)`` of all but ``places``, ``(N,)``."""
    return drawn + (drawn >= places[:, None])
