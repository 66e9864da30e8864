"""One rank of the tests on two processes: a batch is dealt out, and what comes of it written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torch.distributed as dist
from lth_core.openmmlab.compat import processes
from mmengine.model import MMDistributedDataParallel
from torch import nn

from cls.pretext import parts

IMAGES = 4

LABELS = {"some": [0, 2, 1, -1], "one side": [2, 0, -1, -1], "none": [-1] * 4}
"""Of the four images of a batch, two on each rank."""


def _share(rank: int, ranks: int) -> slice:
    return slice(rank * IMAGES // ranks, (rank + 1) * IMAGES // ranks)


def _wrapped(model: nn.Module, ranks: int) -> nn.Module:
    return MMDistributedDataParallel(model) if ranks > 1 else model


def _gradients(model: nn.Module) -> dict[str, list[float]]:
    return {
        name.removeprefix("module."): parameter.grad.flatten().tolist()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def rotnet(rank: int, ranks: int) -> Any:
    """Gradients of RotNet."""
    from lth_cls.pretext import RotationPreprocessor
    from mmpretrain.models import ImageClassifier

    torch.manual_seed(0)
    head = {"type": "mmpretrain.LinearClsHead", "num_classes": 4, "in_channels": parts.CHANNELS}
    preprocessor = RotationPreprocessor()
    plain: Any = ImageClassifier(parts.Flat(), head=head)
    images = torch.rand(IMAGES, 3, 2, 2)
    model = _wrapped(plain, ranks)
    data = preprocessor({"inputs": images[_share(rank, ranks)]}, True)
    model(**data, mode="loss")["loss"].backward()
    return _gradients(model)


def s4l(rank: int, ranks: int, labels: list[int]) -> Any:
    """Gradients of S4L, and its losses."""
    torch.manual_seed(0)
    plain: Any = parts.s4l()
    images = torch.rand(IMAGES, 3, 2, 2)
    model = _wrapped(plain, ranks)
    share = _share(rank, ranks)
    batch = {"inputs": images[share], "data_samples": parts.samples(gt_label=labels[share])}
    losses = model(**plain.data_preprocessor(batch, True), mode="loss")
    plain.parse_losses(losses)[0].backward()
    return _gradients(model), {name: value.item() for name, value in losses.items()}


def npid(rank: int, ranks: int, negatives: int | None) -> Any:
    """Gradients of NPID's first step, and its memory after three."""
    torch.manual_seed(0)
    plain = parts.npid(10, negatives)
    images = torch.rand(3, IMAGES, 3, 2, 2)
    places = torch.tensor([[4, 0, 9, 2], [2, 4, 1, 0], [7, 7, 5, 7]])  # dealt twice, at last
    torch.manual_seed(rank)  # each its own negatives
    model = _wrapped(plain, ranks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    share, first = _share(rank, ranks), None
    for batch, where in zip(images, places, strict=True):
        optimizer.zero_grad()
        given = parts.samples(sample_idx=where[share])
        model([batch[share]], given, mode="loss")["loss"].backward()
        first = first or _gradients(model)
        optimizer.step()
    return first, plain.bank.flatten().tolist()


def exemplar(rank: int, ranks: int) -> Any:
    """Gradients of Exemplar, whose processes keep to themselves: the mean of both halves'."""
    torch.manual_seed(0)
    plain = parts.exemplar()
    views = torch.rand(2, IMAGES, 3, 2, 2)
    model = _wrapped(plain, ranks)
    halves = [_share(rank, 2)] if ranks > 1 else [_share(0, 2), _share(1, 2)]
    for half in halves:
        (model(list(views[:, half]), None, mode="loss")["loss"] / len(halves)).backward()
    return _gradients(model)


def everything(rank: int, ranks: int) -> dict[str, Any]:
    """All of the above, by name."""
    return {
        "rotnet": rotnet(rank, ranks),
        "exemplar": exemplar(rank, ranks),
        "npid": npid(rank, ranks, None),
        "npid, sampled": npid(rank, ranks, 3),
        **{f"s4l, {name}": s4l(rank, ranks, labels) for name, labels in LABELS.items()},
    }


def main() -> None:
    """Writes this rank's results."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    result = everything(rank, dist.get_world_size())
    Path(sys.argv[1], f"rank{rank}.json").write_text(json.dumps(result))
    processes.leave()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
