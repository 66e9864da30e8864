"""Heads for several tasks, of which a sample may have some only, on several processes."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_reduce
from mmpretrain.models import MultiTaskHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import MultiTaskDataSample
from torch import Tensor


@MODELS.register_module()
class WholeBatchMultiTaskHead(MultiTaskHead):
    """mmpretrain's ``MultiTaskHead``, with each task's loss a mean over the whole batch.

    In S4L few images of a batch have a class, and by chance none of those on one process: of 64
    images with one label in ten that is once in 850 times. mmpretrain's head then leaves the task's
    layers out, for which DistributedDataParallel waits; and it averages each process's mean, so
    that a labelled image counts for more where there are few. Here the gradients are those of one
    process with all of the batch, batch norms aside.
    """

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list[MultiTaskDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            feats: Of the backbone, the last ``(N, C)``.
            data_samples: N, each with a data sample for each of its tasks.
            **kwargs: Of the heads.

        Returns:
            By task ``TASK_loss``, 0-d: this process's part, such that the mean over processes is
            the loss of the whole batch.
        """
        losses = {}
        for task, head in self.task_heads.items():
            found = head.loss(feats, data_samples, **kwargs)
            count = found.pop("mask_size").to(feats[-1].device)
            mean = count.clone()
            all_reduce(mean, op="mean")
            share = count / mean.clamp(min=1e-6)  # where nobody has the task, count is 0 too
            used = sum((p.sum() for p in head.parameters()), feats[-1].new_zeros(())) * 0
            for name, value in found.items():
                losses[f"{task}_{name}"] = value * share + used if "loss" in name else value
        return losses
