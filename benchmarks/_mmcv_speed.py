"""Timings of mmcv's operators on two extensions, at the sizes of mmdet's usual configurations."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from _common import interleave, ratio
from _mmcv_cases import Draw
from torch import Tensor

# Channels and map of ResNet-50's stages 3 to 5 for an image of 800 x 1216 pixels.
STAGES = {"C3": (128, 100, 152), "C4": (256, 50, 76), "C5": (512, 25, 38)}

Call = Callable[[], object]


def speed(
    compiled: Any, ours: Any, rounds: int, device: str = "cpu", small: bool = False
) -> Iterator[dict[str, Any]]:
    """Times both extensions, taking turns in one process.

    Args:
        compiled: The extension to compare with.
        ours: The extension to judge.
        rounds: Timed calls of each; a slow operator gets fewer, at least 3.
        device: Where to run.
        small: Tiny sizes, to see that everything runs.
    """
    for operator, size, module, call in _calls(Draw(0, torch.float32, device), small):
        sides = {
            "compiled": _with(module, compiled, call),
            "lth": _with(module, ours, call),
        }
        once = interleave(sides, rounds=1, warm_up=1, device=device)
        slow = max(once["compiled"] + once["lth"])
        seconds = interleave(sides, max(3, min(rounds, int(10 / slow))), 0, device)
        yield {
            "operator": operator,
            "size": size,
            "device": device,
            "rounds": len(seconds["lth"]),
            "compiled ms": 1000 * statistics.median(seconds["compiled"]),
            "lth ms": 1000 * statistics.median(seconds["lth"]),
            "lth / compiled": ratio(seconds["lth"], seconds["compiled"]),
        }


def _with(module: Any, extension: Any, call: Call) -> Call:
    def side() -> None:
        before = module.ext_module
        module.ext_module = extension
        try:
            call()
        finally:
            module.ext_module = before

    return side


def _calls(draw: Draw, small: bool) -> Iterator[tuple[str, str, Any, Call]]:
    """Operator, size in words, the module of mmcv that holds it, and a call of it."""
    yield from _suppression(draw, (20, 40) if small else (100, 1000, 10000))
    yield from _regions(draw, 16 if small else 1)
    yield from _convolutions(draw, 16 if small else 1)


def _suppression(draw: Draw, counts: tuple[int, ...]) -> Iterator[tuple[str, str, Any, Call]]:
    module = importlib.import_module("mmcv.ops.nms")
    config = {"type": "nms", "iou_threshold": 0.5}
    for count in counts:
        boxes, scores = draw.boxes(count, 1000), draw.scores(count)
        boxes[:, 2:] = boxes[:, :2] + draw.uniform(count, 2) * 200 + 10
        classes = draw.classes(0, 79, count)

        def single(boxes: Tensor = boxes, scores: Tensor = scores) -> object:
            return module.nms(boxes, scores, 0.5)

        def batched(
            boxes: Tensor = boxes, scores: Tensor = scores, classes: Tensor = classes
        ) -> object:
            return module.batched_nms(boxes, scores, classes, config)

        yield "nms", f"{count} boxes", module, single
        yield "batched_nms", f"{count} boxes, 80 classes", module, batched


def _regions(draw: Draw, shrink: int) -> Iterator[tuple[str, str, Any, Call]]:
    module = importlib.import_module("mmcv.ops.roi_align")
    channels, high, wide = 256 // shrink, 200 // shrink, 304 // shrink
    maps = draw.normal(1, channels, high, wide)
    for count, bins in ((512, 7), (100, 14)):
        count //= shrink
        rois = torch.cat([draw.uniform(count, 1) * 0, draw.boxes(count, 600 / shrink)], dim=1)
        rois[:, 3:] = rois[:, 1:3] + draw.uniform(count, 2) * 200 / shrink + 16
        for mode in ("avg", "max"):
            size = f"{count} regions, {bins} x {bins} bins, map {channels} x {high} x {wide}"

            def align(
                maps: Tensor = maps, rois: Tensor = rois, bins: int = bins, mode: str = mode
            ) -> Tensor:
                return module.roi_align(maps, rois, bins, 0.25, 0, mode, True)

            yield from _both_ways(f"roi_align, {mode}", size, module, align, {"maps": maps})


def _convolutions(draw: Draw, shrink: int) -> Iterator[tuple[str, str, Any, Call]]:
    first = importlib.import_module("mmcv.ops.deform_conv")
    second = importlib.import_module("mmcv.ops.modulated_deform_conv")
    for stage, (channels, high, wide) in STAGES.items():
        channels, high, wide = channels // shrink, max(4, high // shrink), max(4, wide // shrink)
        leaves = {
            "maps": draw.normal(1, channels, high, wide),
            "offset": draw.normal(1, 18, high, wide),
            "weight": draw.normal(channels, channels, 3, 3) / (3 * channels**0.5),
        }
        size = f"{stage}: {channels} x {high} x {wide}, 3 x 3"

        def plain(maps: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
            return first.deform_conv2d(maps, offset, weight, 1, 1)

        def modulated(maps: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
            return second.modulated_deform_conv2d(maps, offset, mask, weight, None, 1, 1)

        yield from _both_ways("deform_conv2d", size, first, plain, leaves)
        leaves = leaves | {"mask": draw.uniform(1, 9, high, wide)}
        yield from _both_ways("modulated_deform_conv2d", size, second, modulated, leaves)


def _both_ways(
    operator: str, size: str, module: Any, call: Callable[..., Tensor], leaves: dict[str, Tensor]
) -> Iterator[tuple[str, str, Any, Call]]:
    """The forward pass, then the forward and the backward pass."""

    def forward() -> object:
        with torch.no_grad():
            return call(**leaves)

    grown = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}

    def both() -> object:
        output = call(**grown)
        return torch.autograd.grad(output, list(grown.values()), torch.ones_like(output))

    yield f"{operator}, forward", size, module, forward
    yield f"{operator}, forward and backward", size, module, both
