"""One rank of the tests on two processes; imports little, since every process pays for it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import lth_cls.contrastive
import torch
import torch.distributed as dist
from lth_cls.evaluation import RetrievalAccuracy
from lth_core.openmmlab.compat import processes
from mmengine.model import MMDistributedDataParallel
from torch import nn

IMAGES, CHANNELS = 11, 6


def features() -> torch.Tensor:
    """``(n, 2, C)`` in which some partners are nearest and some are not."""
    noise = torch.Generator().manual_seed(0)
    centre = torch.randn(IMAGES, 1, CHANNELS, generator=noise)
    return centre + 0.8 * torch.randn(IMAGES, 2, CHANNELS, generator=noise)


def metric_of(rank: int, ranks: int, **settings: int) -> dict[str, float]:
    """The metric of samples that are dealt out as mmengine's sampler does, padded at the end."""
    metric = RetrievalAccuracy(topk=(1, 3), **settings)
    padded = [*range(IMAGES), *range(-IMAGES % ranks)]
    for index in padded[rank::ranks]:
        metric.process(None, [{"views": features()[index]}])
    result: dict[str, float] = metric.evaluate(IMAGES)
    return result


class Flatten(nn.Module):
    """Stands for a backbone and a neck without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(x.flatten(1)),)


class Pass(nn.Module):
    """Stands for a neck."""

    def forward(self, x: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return x


def gradient(rank: int, ranks: int) -> tuple[list[float], float]:
    """The gradient and the loss of WholeBatchSimCLR, of eight images over all ranks."""
    torch.manual_seed(0)
    model: nn.Module = lth_cls.contrastive.WholeBatchSimCLR(
        backbone=Flatten(),
        neck=Pass(),
        head={
            "type": "mmpretrain.ContrastiveHead",
            "loss": {"type": "mmpretrain.CrossEntropyLoss"},
        },
        data_preprocessor={"type": "mmpretrain.SelfSupDataPreprocessor"},
    )
    images = torch.rand(2, 8, 3, 2, 2)
    if ranks > 1:
        model = MMDistributedDataParallel(model)
    share = images[:, rank * 8 // ranks : (rank + 1) * 8 // ranks]
    loss = model(list(share), None, mode="loss")["loss"]
    loss.backward()
    (weight,) = [p for n, p in model.named_parameters() if n.endswith("layer.weight")]
    assert weight.grad is not None
    return weight.grad.flatten().tolist(), loss.item()


def main() -> None:
    """Writes rank 0's results."""
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    result = {
        "all": metric_of(rank, ranks),
        "pool": metric_of(rank, ranks, pool=4),
        "gradient": gradient(rank, ranks),
    }
    Path(sys.argv[1], f"rank{rank}.json").write_text(json.dumps(result))
    processes.leave()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
