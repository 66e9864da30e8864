"""SimCLR on several processes, and the loss of paper A's code."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_world_size
from mmpretrain.models import SimCLR
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class WholeBatchSimCLR(SimCLR):
    """mmpretrain's SimCLR with the gradient of the whole batch's loss on several processes, too.

    Every process computes the loss over all processes' views, but sends back the gradient of its
    own views only, and DistributedDataParallel averages: the gradient comes out divided by the
    number of processes. With a fixed learning rate (paper A, Table 1) that would be a smaller
    one. Here it is what one process with all of the batch would get, batch norms aside.
    """

    def loss(self, inputs: list[Tensor], data_samples: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            inputs: Two tensors ``(N, 3, H, W)``: the views.
            data_samples: Not used.
            **kwargs: As mmpretrain's.

        Returns:
            ``loss``, 0-d, whose value is mmpretrain's and whose gradient is the whole batch's.
        """
        losses: dict[str, Tensor] = super().loss(inputs, data_samples, **kwargs)
        processes = get_world_size()
        if processes > 1:
            loss = losses["loss"]
            losses["loss"] = processes * loss - (processes - 1) * loss.detach()
        return losses


@MODELS.register_module()
class LogMeanProbabilityLoss(nn.Module):
    """``-log(mean(p))`` over a batch, in place of cross entropy's ``mean(-log(p))``.

    What the SimCLR of paper A's code minimises (p: probability of the positive). It attends to
    the easy pairs: a view whose partner is hard to find hardly changes the mean.
    """

    def forward(self, logits: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
        """The loss, 0-d.

        Args:
            logits: ``(N, K)``.
            labels: ``(N,)``, the positives' places.
            **kwargs: For which heads of mmpretrain's may ask; not used.
        """
        log_p = logits.log_softmax(1).gather(1, labels[:, None])
        count = torch.tensor(float(len(logits)), device=logits.device)
        return count.log() - log_p.logsumexp(0).squeeze()
