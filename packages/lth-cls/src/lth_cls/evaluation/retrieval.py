"""Top-k retrieval accuracy: does a view of an image find the image's other view?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lth_core.errors import ConfigError
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS
from torch import Tensor


@METRICS.register_module()
class RetrievalAccuracy(BaseMetric):
    """Share of views whose partner is among their nearest neighbours (paper A, appendix A.2).

    Of n images with two views each, a view is right if its nearest neighbour by cosine among the
    other 2n - 1 views is the other view of the same image; the accuracy is right / 2n, in percent.
    Where another view is exactly as near as the partner, the view is wrong: features that have
    collapsed to one point find nothing.

    Samples come from :class:`~lth_cls.evaluation.TwoViewValLoop`, as dicts with ``views``,
    ``(2, C)``. Of several processes' samples all are compared with each other, as if one process
    had gone through the data set in order.

    Args:
        pool: Number of images that follow each other in the data set and are compared with each
            other; the last pool may be smaller. None compares all, which is the paper's
            definition; its code takes 256, a batch. The smaller a pool the higher the accuracy,
            so numbers of different pools cannot be compared.
        topk: For which k to report; 1 is the paper's. With k > 1 a view is right if fewer than k
            other views are at least as near as its partner.
        block: Number of views that are compared with all others at once. Decides the memory:
            ``block * 2n`` floats, 400 MB for the validation set of ImageNet.
        collect_device: As mmengine's.
        prefix: As mmengine's, ``retrieval`` by default: the metric is ``retrieval/top1``.

    Raises:
        ConfigError: If a number is out of range.
    """

    default_prefix = "retrieval"

    def __init__(
        self,
        pool: int | None = None,
        topk: int | Sequence[int] = (1,),
        block: int = 1024,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.pool = pool
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        self.block = block
        numbers = {"pool": 1 if pool is None else pool, "block": block}
        for name, number in (*numbers.items(), *(("topk", k) for k in self.topk)):
            if type(number) is not int or number < 1:
                raise ConfigError(
                    f"RetrievalAccuracy: {name} is {number!r}; it must be a whole number above 0"
                )

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keeps a batch's features.

        Args:
            data_batch: Not used.
            data_samples: One dict an image with ``views``, ``(2, C)``.
        """
        # Cloned: a slice would keep, and send to rank 0, the whole batch's memory.
        self.results += [sample["views"].detach().float().cpu().clone() for sample in data_samples]

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """The accuracies in percent, ``top1`` and so on, of all processes' samples in order."""
        if not results:
            raise ConfigError("RetrievalAccuracy has no images to compare; is the data set empty?")
        device = get_device()
        pools = torch.stack(results).split(self.pool or len(results))
        ranks = torch.cat([partner_ranks(pool.to(device), self.block).cpu() for pool in pools])
        return {f"top{k}": 100 * (ranks < k).double().mean().item() for k in self.topk}


def partner_ranks(features: Tensor, block: int = 1024) -> Tensor:
    """How many other views are at least as near to each view as its partner is.

    Args:
        features: ``(n, 2, C)``, two views of each of n images; need not be normalised. A view
            without a direction (zeros, or not finite) finds no partner.
        block: Number of views that are compared with all others at once.

    Returns:
        ``(n, 2)`` int64: 0 where the partner is the nearest of the other 2n - 1 views.
    """
    views = torch.nn.functional.normalize(features.flatten(0, 1).float(), dim=1)
    ranks = []
    for rows in torch.arange(len(views), device=views.device).split(block):
        similar = views[rows] @ views.T
        # Taken out of the product: computed by itself it might round differently, and then not
        # tie with an equal view.
        partner = similar.gather(1, (rows ^ 1)[:, None])
        similar.scatter_(1, rows[:, None], -torch.inf)  # a view is no neighbour of its own
        # Counted by those that are farther, so that what is not a number counts as near.
        ranks.append(len(views) - 1 - (similar < partner).sum(1))
    return torch.cat(ranks).view(-1, 2)
