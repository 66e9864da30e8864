"""One round of a chain on CIFAR-shaped data: lth, mmpretrain's stock pipeline, a plain script.

    python benchmarks/cifar_round.py [--small] [--depth 18 50] [--rounds 3] [--compile]

A round is a training of so many epochs, one validation, and one global prune of 20 %; all sides
train the same architecture on the same number of pictures, cropped and flipped, in the same
batches, with SGD. mmpretrain has no masks and trains dense. The plain script is what papers come
with: torchvision's data set and transforms on single pictures in a data loader's workers,
torch.nn.utils.prune, the loss read at each step. lth trains a ticket with ``in_memory``,
channels-last weights and a fused optimizer, once in float32 and, where the machine multiplies it,
once in bfloat16; the others train in float32. Pictures per second are those of the last epoch; what
comes before, and the compiling, is in the seconds of the whole round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torchvision
from _cifar import MEAN, STD, Work, backbone, fast, features, half_pays, stock, write_cifar
from _common import arguments, in_turn, report, spread
from lth_core.openmmlab import LTHRunner
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import DataLoader
from torchvision import transforms

AMOUNT = 0.2
SPARSITY = 0.9


class LastEpoch(Hook):
    """Times the last epoch."""

    seconds = 0.0

    def before_train_epoch(self, runner: Any) -> None:
        """Begins anew with each epoch."""
        self._since = now()

    def after_train_epoch(self, runner: Any) -> None:
        """Ends it before validations and checkpoints."""
        self.seconds = now() - self._since


LastEpoch.priority = "HIGHEST"


def now() -> float:
    """The time when the GPU, if there is one, has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def with_lth(work: Work, root: Path, half: bool, compiled: bool) -> float:
    """A round from a ticket, with all that makes it fast; seconds of the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = stock(work, root, Path(folder) / "run")
        model = MODELS.build(cfg.model)
        masks = lth.MaskSet.ones(model, lth.prunable(model))
        masks = lth.prune(model, masks, SPARSITY)
        lth.Ticket(masks).save(Path(folder) / "ticket.safetensors")
        cfg.ticket = {"path": f"{folder}/ticket.safetensors"}
        hook = LastEpoch()
        cfg = fast(cfg, torch.cuda.is_available(), half, compiled)
        trained = LTHRunner.from_cfg(cfg, (hook,)).train()
        lth.prune(trained, masks, AMOUNT)
    return hook.seconds


def with_mmpretrain(work: Work, root: Path) -> float:
    """A dense round of mmengine's runner."""
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner.from_cfg(stock(work, root, Path(folder) / "run"))
        hook = LastEpoch()
        runner.register_hook(hook)
        model = runner.train()
        masks = lth.MaskSet.ones(model, lth.prunable(model))
        lth.prune(model, masks, AMOUNT)
    return hook.seconds


class AnyCIFAR10(torchvision.datasets.CIFAR10):
    """torchvision's CIFAR-10, of which any files will do."""

    meta = {**torchvision.datasets.CIFAR10.meta, "md5": None}  # noqa: RUF012

    def _check_integrity(self) -> bool:
        return True


class Plain(nn.Module):
    """The same architecture in plain PyTorch."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone(depth))
        self.fc = nn.Linear(features(depth), 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of ``(N, 3, 32, 32)`` pictures, ``(N, 10)``."""
        return self.fc(self.backbone(images)[0].mean((2, 3)))


def with_script(work: Work, root: Path) -> float:
    """A round as papers' scripts have it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    drawn = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *last]
    loaders = [
        DataLoader(
            AnyCIFAR10(str(root), train=train, transform=transforms.Compose(steps)),
            work.batch,
            shuffle=train,
            num_workers=2,
            pin_memory=device.type == "cuda",
        )
        for train, steps in ((True, drawn), (False, last))
    ]
    model = Plain(work.depth).to(device)
    modules = [
        (model.get_submodule(name.rpartition(".")[0]), "weight") for name in lth.prunable(model)
    ]
    torch_prune.global_unstructured(modules, torch_prune.L1Unstructured, amount=SPARSITY)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    losses = []
    for _ in range(work.epochs):
        start = now()
        model.train()
        for images, labels in loaders[0]:
            images, labels = images.to(device), labels.to(device)
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        seconds = now() - start
    model.eval()
    with torch.no_grad():
        correct = 0
        for images, labels in loaders[1]:
            scores = model(images.to(device)).cpu()
            correct += int((scores.argmax(1) == labels).sum())
    torch_prune.global_unstructured(modules, torch_prune.L1Unstructured, amount=AMOUNT)
    return seconds


def measure(sides: dict[str, Callable[[], float]], work: Work, rounds: int) -> list[dict[str, Any]]:
    """Rows of the table."""
    whole: dict[str, list[float]] = {name: [] for name in sides}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        for name in in_turn(list(sides), index):
            start = now()
            rates[name].append(work.pictures / sides[name]())
            whole[name].append(now() - start)
    ours = next(iter(sides))
    return [
        {
            "side": name,
            "arch": f"ResNet-{work.depth}",
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "epochs x pictures": f"{work.epochs} x {work.pictures:,}",
            "pictures / s": statistics.median(rates[name]),
            "± / s": spread(rates[name]),
            "round s": statistics.median(whole[name]),
            f"{ours} is faster by": statistics.median(
                a / b for a, b in zip(rates[ours], rates[name], strict=True)
            ),
        }
        for name in sides
    ]


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--depth", nargs="+", type=int, help="of the ResNets; default: 18 50")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--pictures", type=int, help="default: 50,000 on a GPU, 640 on a CPU")
    parser.add_argument("--rounds", type=int, help="rounds of each side; default: 3")
    parser.add_argument("--compile", action="store_true", help="lth's side by torch.compile")
    args = parser.parse_args()
    gpu = torch.cuda.is_available()
    pictures = args.pictures or (160 if args.small else 50_000 if gpu else 640)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_cifar(root, pictures)
        for depth in args.depth or ([18] if args.small else [18, 50]):
            epochs = args.epochs or (1 if args.small else 5 if gpu else 2)
            work = Work(depth, 32 if args.small else args.batch, epochs, pictures)
            halves = {"lth, bfloat16": True} if half_pays() else {}
            sides: dict[str, Callable[[], float]] = {
                name: lambda work=work, half=half: with_lth(work, root, half, args.compile)
                for name, half in {**halves, "lth": False}.items()
            }
            sides |= {
                "mmpretrain": lambda work=work: with_mmpretrain(work, root),
                "plain script": lambda work=work: with_script(work, root),
            }
            rows += measure(sides, work, args.rounds or (1 if args.small else 3))
    report("A round on CIFAR-shaped data", rows, args.output)


if __name__ == "__main__":
    main()
