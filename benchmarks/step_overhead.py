"""What a training step costs with masks: dense, lth, torch.nn.utils.prune, a parametrisation.

    python benchmarks/step_overhead.py [--small] [--arch resnet18 resnet50] [--settings ...]
    torchrun --nproc_per_node=8 benchmarks/step_overhead.py --settings ddp

All sides train the same architecture on the same random batch in one process, taking turns, with
SGD, momentum, weight decay and clipping of the norm: on a GPU, where there is one, and on the CPU.
The settings are single precision, mixed precision (bf16), weights in channels-last order,
``torch.compile``, and DistributedDataParallel, by default of one process.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import lth_core as lth
import torch
import torchvision
from _common import arguments, devices, interleave, ratio, report, spread
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

SPARSITY = 0.9


@dataclass(frozen=True)
class Setting:
    """How a model is trained.

    Attributes:
        half: In mixed precision, bf16.
        last: Weights in channels-last order.
        compiled: Through ``torch.compile``.
        ddp: In DistributedDataParallel.
    """

    half: bool = False
    last: bool = False
    compiled: bool = False
    ddp: bool = False


SETTINGS = {
    "fp32": Setting(),
    "fp32, channels last": Setting(last=True),
    "bf16, channels last": Setting(half=True, last=True),
    "bf16, channels last, compiled": Setting(half=True, last=True, compiled=True),
    "ddp": Setting(half=True, last=True, ddp=True),
}
SMALL_SETTINGS = ("fp32", "bf16, channels last", "ddp")
"""Compiling for a CPU takes minutes."""


class Masked(nn.Module):
    """Parametrisation that multiplies a weight with its mask at each use."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The masked weight."""
        return weight * self.mask


def with_torch_prune(model: nn.Module, masks: lth.MaskSet) -> None:
    """torch.nn.utils.prune: the weight is recomputed before each forward pass."""
    for name, mask in masks.items():
        module, _, parameter = name.rpartition(".")
        torch_prune.custom_from_mask(model.get_submodule(module), parameter, mask)


def with_parametrisation(model: nn.Module, masks: lth.MaskSet) -> None:
    """torch.nn.utils.parametrize: the weight is recomputed at each use."""
    for name, mask in masks.items():
        module, _, parameter = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(module), parameter, Masked(mask))


SIDES: dict[str, Callable[[nn.Module, lth.MaskSet], None] | None] = {
    "dense": None,
    "lth": None,  # attached once the model is wrapped
    "torch.nn.utils.prune": with_torch_prune,
    "parametrisation": with_parametrisation,
}


def side(
    arch: str, name: str, batch: int, size: int, device: str, setting: Setting
) -> Callable[[], None]:
    """One side's training step."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, arch)().to(device)
    layout = torch.channels_last if setting.last else torch.contiguous_format
    model = model.to(memory_format=layout)
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    masks = lth.prune(model, masks, SPARSITY).to(device)
    apply = SIDES[name]
    if apply is not None:
        apply(model, masks)
    wrapped = DistributedDataParallel(model) if setting.ddp else model
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4)
    if name == "lth":
        lth.attach(wrapped, masks, optimizer)
    called = torch.compile(wrapped) if setting.compiled else wrapped
    images = torch.rand(batch, 3, size, size, device=device).to(memory_format=layout)
    labels = torch.randint(1000, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16) if setting.half else nullcontext():
            loss = nn.functional.cross_entropy(called(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


@contextmanager
def processes(device: str) -> Iterator[None]:
    """The process group of torchrun, or one of this process alone."""
    backend = "nccl" if device == "cuda" else "gloo"
    if "WORLD_SIZE" in os.environ:
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group(backend)
        yield
    else:
        with tempfile.TemporaryDirectory() as folder:
            distributed.init_process_group(backend, f"file://{folder}/store", rank=0, world_size=1)
            yield
    distributed.destroy_process_group()


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--arch", nargs="+")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS)
    parser.add_argument("--batch", type=int, help="default: 256 on a GPU, 16 on a CPU")
    parser.add_argument("--size", type=int, help="image size in pixels; default: 224, 128")
    parser.add_argument("--rounds", type=int, help="counted steps of each side")
    args = parser.parse_args()
    archs = args.arch or (["resnet18"] if args.small else ["resnet18", "resnet50"])
    rows = []
    for device in devices():
        sizes = (2, 32) if args.small else (256, 224) if device == "cuda" else (16, 128)
        batch, size = args.batch or sizes[0], args.size or sizes[1]
        for arch in archs:
            for name in args.settings or (SMALL_SETTINGS if args.small else SETTINGS):
                setting = SETTINGS[name]
                with processes(device) if setting.ddp else nullcontext():
                    steps = {each: side(arch, each, batch, size, device, setting) for each in SIDES}
                    rounds = args.rounds or (3 if args.small else 30 if device == "cuda" else 15)
                    seconds = interleave(
                        steps, rounds, warm_up=1 if args.small else 5, device=device
                    )
                rows += [
                    {
                        "side": each,
                        "arch": arch,
                        "device": device,
                        "setting": name,
                        "batch": f"{batch} x {size} px",
                        "median ms": 1000 * statistics.median(times),
                        "± ms": 1000 * spread(times),
                        "to dense": ratio(times, seconds["dense"]),
                    }
                    for each, times in seconds.items()
                ]
    if int(os.environ.get("RANK", "0")) == 0:
        report("A training step from a ticket of 90 % sparsity", rows, args.output)


if __name__ == "__main__":
    main()
