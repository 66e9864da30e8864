"""What limits a training step on CIFAR-shaped data: operations and bytes against the machine.

    python benchmarks/step_limits.py [--small] [--depth 18 50] [--batch 128]

The ceilings are measured beside it: what the faster of a product of two large square matrices and
a large 3 x 3 convolution reaches, and how fast memory is copied. Operations of a step are counted
(torch's counter: convolutions and linear layers, forward and backward); bytes are what its other
layers read and write at the least: norms, rectifiers, sums and casts, each tensor that one of their
kernels takes or gives. "% of the ceiling" is the time that all of this would take at the ceilings,
as a share of what it took. The rest says where a profile found the time.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from _cifar import backbone, features, half_pays
from _common import arguments, interleave, report
from mmpretrain.registry import MODELS
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

GROUPS = {
    "convolution, forward": ("aten::mkldnn_convolution", "aten::cudnn_convolution"),
    "convolution, backward": ("aten::convolution_backward",),
    "batch norm": ("aten::native_batch_norm", "aten::cudnn_batch_norm",
                   "aten::native_batch_norm_backward", "aten::cudnn_batch_norm_backward"),
    "rectifier, sum": ("aten::clamp_min_", "aten::relu_", "aten::threshold_backward", "aten::add_",
                       "aten::add"),
    "casts and copies": ("aten::copy_",),
    "optimizer": ("aten::_fused_sgd_",),
}  # fmt: skip
"""Operators by what they are for."""


class Bytes(TorchDispatchMode):
    """Counts what operators other than convolutions and products read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts the tensors of one call."""
        given = func(*args, **(kwargs or {}))
        name = str(func)
        moves = any(part in name for part in ("batch_norm", "relu", "threshold", "add", "_to_copy"))
        if moves:
            tensors = [*args, *(given if isinstance(given, (tuple, list)) else [given])]
            self.total += sum(t.nbytes for t in tensors if isinstance(t, torch.Tensor))
        return given


def step_of(depth: int, batch: int, half: bool, device: str) -> Callable[[], None]:
    """A dense step as lth's fast keys have it."""
    torch.manual_seed(0)
    layers = MODELS.build(backbone(depth))
    head = nn.Linear(features(depth), 10)
    model = nn.ModuleList([layers, head]).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.rand(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            loss = nn.functional.cross_entropy(head(layers(images)[0].mean((2, 3))), labels)
        loss.backward()
        optimizer.step()

    return step


def ceilings(device: str, half: bool, size: int) -> tuple[float, float]:
    """Operations a second of a product or a convolution, bytes a second of a copy, both ways."""
    dtype = torch.bfloat16 if half else torch.float32
    one = torch.rand(size, size, device=device).to(dtype)
    pictures = torch.rand(size // 64, 256, 32, 32, device=device).to(dtype)
    pictures = pictures.to(memory_format=torch.channels_last)
    kernel = torch.rand(256, 256, 3, 3, device=device).to(dtype)
    kernel = kernel.to(memory_format=torch.channels_last)
    many = torch.rand(16 * size * size, device=device)
    into = torch.empty_like(many)
    sides = {
        "product": lambda: one @ one,
        "convolution": lambda: nn.functional.conv2d(pictures, kernel, padding=1),
        "copy": lambda: into.copy_(many),
    }
    with torch.no_grad():
        seconds = interleave(sides, rounds=7, warm_up=2, device=device)
    product, convolution, copy = (statistics.median(times) for times in seconds.values())
    operations = 2 * pictures.numel() * 256 * 9
    return max(2 * size**3 / product, operations / convolution), 2 * many.nbytes / copy


def where(step: Callable[[], None], device: str) -> dict[str, float]:
    """The shares of the time of a few steps, by group of operators."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as found:
        for _ in range(3):
            step()
    key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    times: Counter[str] = Counter()
    for event in found.key_averages():
        group = next((name for name, keys in GROUPS.items() if event.key in keys), "other")
        times[group] += getattr(event, key)
    return {name: times[name] / times.total() for name in (*GROUPS, "other")}


def facts(depth: int, batch: int, half: bool, device: str, small: bool) -> dict[str, float]:
    """A column of the table."""
    step = step_of(depth, batch, half, device)
    rounds = 2 if small else 15
    seconds = interleave({"step": step}, rounds, warm_up=1 if small else 3, device=device)["step"]
    taken = statistics.median(seconds)
    with FlopCounterMode(display=False) as operations:
        step()
    with Bytes() as bytes_:
        step()
    per_second, moved_per_second = ceilings(device, half, 256 if small else 4096)
    least = operations.get_total_flops() / per_second + bytes_.total / moved_per_second
    return {
        "pictures / s": batch / taken,
        "GFLOP a picture": operations.get_total_flops() / batch / 1e9,
        "ceiling GFLOP / s": per_second / 1e9,
        "MB a picture": bytes_.total / batch / 1e6,
        "ceiling GB / s": moved_per_second / 1e9,
        "% of the ceiling": 100 * least / taken,
        **{f"{name} %": 100 * share for name, share in where(step, device).items()},
    }


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--depth", nargs="+", type=int, help="of the ResNets; default: 18 50")
    parser.add_argument("--batch", type=int, help="default: 1024 on a GPU, 128 on a CPU")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = args.batch or (8 if args.small else 1024 if device == "cuda" else 128)
    found = {
        f"ResNet-{depth}, {'bfloat16' if half else 'float32'}": facts(
            depth, batch, half, device, args.small
        )
        for depth in args.depth or ([18] if args.small else [18, 50])
        for half in ([False, True] if half_pays() else [False])
    }
    names = next(iter(found.values()))
    rows: list[dict[str, Any]] = [
        {"side": name, **{column: values[name] for column, values in found.items()}}
        for name in names
    ]
    title = f"A dense step of {batch} CIFAR-shaped pictures on {device}, and what could be"
    report(title, rows, args.output)


if __name__ == "__main__":
    main()
