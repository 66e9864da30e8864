"""Random calls of mmcv's operators, for each that lth supplies, as mmdet and mmseg make them.

A case draws its arguments once and can then be run any number of times; which extension answers
is up to the caller (see ``mmcv_ops.py``). What it returns are the outputs, and where the operator
has a backward pass, the gradients for an upstream gradient that is the same for each run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mmcv.ops
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.ops.sync_bn import SyncBatchNormFunction
from torch import Tensor

Results = dict[str, Tensor]
Run = Callable[[], Results]


class Draw:
    """Random arguments from one seed, the same for every device."""

    def __init__(self, seed: int, dtype: torch.dtype, device: str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        self.generator = torch.Generator().manual_seed(seed)

    def whole(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def pick(self, *options: Any) -> Any:
        """One of the options."""
        return options[self.whole(0, len(options) - 1)]

    def normal(self, *shape: int) -> Tensor:
        """Normally distributed numbers."""
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.device, self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1."""
        drawn = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.device, self.dtype)

    def classes(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from ``low`` to ``high``, both included, as int64."""
        return torch.randint(low, high + 1, shape, generator=self.generator).to(self.device)

    def boxes(self, count: int, size: float, kind: str = "random") -> Tensor:
        """Boxes (count, 4) as (x1, y1, x2, y2), crowded enough that many overlap."""
        corner = self.uniform(count, 2) * size
        extent = self.uniform(count, 2) * size / 2
        if kind == "whole coordinates":
            corner, extent = corner.round(), extent.round() + 1
        elif kind == "no area":
            extent = extent * self.classes(0, 1, count, 2)
        elif kind == "negative size":
            extent = extent * (2 * self.classes(0, 1, count, 2) - 1)
        elif kind == "outside":
            corner = corner * 4 - 2 * size
        return torch.cat([corner, corner + extent], dim=1)

    def rois(self, count: int, images: int, size: float, kind: str) -> Tensor:
        """Regions (count, 5) as (image, x1, y1, x2, y2)."""
        image = self.classes(0, images - 1, count, 1).to(self.dtype)
        return torch.cat([image, self.boxes(count, size, kind)], dim=1)

    def scores(self, count: int, kind: str = "random") -> Tensor:
        """Scores (count,)."""
        scores = self.uniform(count)
        return (scores * 4).round() / 4 if kind == "equal scores" else scores


def transposed(tensor: Tensor) -> Tensor:
    """The same numbers, the last two axes swapped in memory."""
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def differentiated(
    draw: Draw, call: Callable[..., Tensor], strided_gradient: bool = False, **leaves: Tensor
) -> Run:
    """A run of ``call(**leaves)`` with the gradients of all leaves."""
    seed = draw.whole(0, 2**31)

    def run() -> Results:
        given = {name: leaf.detach().requires_grad_() for name, leaf in leaves.items()}
        output = call(**given)
        upstream = Draw(seed, output.dtype, draw.device).normal(*output.shape)
        if strided_gradient:
            upstream = transposed(upstream)
        grads = torch.autograd.grad(output, list(given.values()), upstream)
        named = {f"gradient of {name}": grad for name, grad in zip(given, grads, strict=True)}
        return {"output": output.detach(), **named}

    return run


def nms(draw: Draw, kind: str) -> Run:
    """``nms``, with a smallest score and a largest number now and then."""
    count = 0 if kind == "no boxes" else draw.whole(1, 300)
    boxes, scores = draw.boxes(count, draw.pick(5.0, 50.0), kind), draw.scores(count, kind)
    if kind == "not contiguous":
        boxes, scores = transposed(boxes), torch.stack([scores, scores], 1)[:, 0]
    options = {
        "iou_threshold": draw.pick(0.0, 0.3, 0.5, 0.7),
        "offset": draw.pick(0, 1),
        "score_threshold": draw.pick(0, 0, 0.25),
        "max_num": draw.pick(-1, -1, 10),
    }

    def run() -> Results:
        if kind == "numpy":
            dets, kept = mmcv.ops.nms(boxes.cpu().numpy(), scores.cpu().numpy(), **options)
            return {"kept": torch.from_numpy(kept), "boxes": torch.from_numpy(dets)}
        dets, kept = mmcv.ops.nms(boxes, scores, **options)
        return {"kept": kept, "boxes": dets}

    return run


def batched_nms(draw: Draw, kind: str) -> Run:
    """``batched_nms`` as mmdet's heads configure it."""
    count = draw.whole(1, 300)
    boxes, scores, classes = draw.boxes(count, 20), draw.scores(count), draw.classes(0, 5, count)
    config: dict[str, Any] | None = {"type": "nms", "iou_threshold": draw.pick(0.3, 0.5, 0.7)}
    if kind == "soft_nms":
        config = {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.05}
        config["method"] = draw.pick("linear", "gaussian", "naive")
    elif kind == "split_thr":
        config |= {"split_thr": 2, "max_num": draw.pick(-1, 20)}
    elif kind == "none":
        config = None

    def run() -> Results:
        dets, kept = mmcv.ops.batched_nms(boxes, scores, classes, config, kind == "class agnostic")
        return {"kept": kept, "boxes": dets}

    return run


def soft_nms(draw: Draw, kind: str) -> Run:
    """``soft_nms`` by each of its methods."""
    count = 0 if kind == "no boxes" else draw.whole(1, 120)
    boxes, scores = draw.boxes(count, 15, kind), draw.scores(count, kind)
    options = {
        "iou_threshold": draw.pick(0.2, 0.3, 0.5),
        "sigma": draw.pick(0.3, 0.5, 1.0),
        "min_score": draw.pick(1e-3, 0.05, 0.2),
        "method": kind if kind in METHODS else draw.pick(*METHODS),
        "offset": draw.pick(0, 1),
    }

    def run() -> Results:
        dets, kept = mmcv.ops.soft_nms(boxes, scores, **options)
        return {"kept": kept, "boxes": dets}

    return run


def nms_match(draw: Draw, kind: str) -> Run:
    """``nms_match``; the groups one after the other, and how long each is."""
    count = draw.whole(1, 120)
    dets = torch.cat([draw.boxes(count, 15, kind), draw.scores(count, kind)[:, None]], dim=1)
    threshold = draw.pick(0.1, 0.3, 0.5)

    def run() -> Results:
        groups = mmcv.ops.nms_match(dets, threshold)
        return {"groups": torch.cat(groups), "lengths": torch.tensor([len(g) for g in groups])}

    return run


def bbox_overlaps(draw: Draw, kind: str) -> Run:
    """``bbox_overlaps`` in each mode."""
    rows, columns = (0, 3) if kind == "no boxes" else (draw.whole(1, 40), draw.whole(1, 40))
    aligned = draw.pick(True, False)
    one = draw.boxes(rows, 20, kind)
    two = draw.boxes(rows if aligned else columns, 20, kind)
    mode, offset = draw.pick("iou", "iof"), draw.pick(0, 1)
    return lambda: {"output": mmcv.ops.bbox_overlaps(one, two, mode, aligned, offset)}


def _maps_and_rois(draw: Draw, kind: str) -> tuple[Tensor, Tensor, tuple[int, int], float]:
    scale = draw.pick(1.0, 0.25, 0.0625)
    high, wide = draw.whole(1, 24), draw.whole(1, 24)
    maps = draw.normal(2, draw.whole(1, 5), high, wide)
    count = 0 if kind == "no rois" else draw.whole(1, 20)
    rois = draw.rois(count, 2, max(high, wide) / scale, kind)
    return maps, rois, (draw.whole(1, 7), draw.whole(1, 7)), scale


def roi_align(mode: str) -> Callable[[Draw, str], Run]:
    """``roi_align`` in mode ``"avg"`` or ``"max"``."""

    def case(draw: Draw, kind: str) -> Run:
        maps, rois, bins, scale = _maps_and_rois(draw, kind)
        options = (bins, scale, draw.pick(0, 1, 2, 3), mode, draw.pick(True, False))
        if kind == "maps not contiguous":
            maps = transposed(maps)
        return differentiated(
            draw,
            lambda input: mmcv.ops.roi_align(input, rois, *options),
            strided_gradient=kind == "gradient not contiguous",
            input=maps,
        )

    return case


def roi_pool(draw: Draw, kind: str) -> Run:
    """``roi_pool``; equal pixels show which one gets the gradient."""
    maps, rois, bins, scale = _maps_and_rois(draw, kind)
    if kind == "equal pixels":
        maps = maps.round()
    return differentiated(
        draw, lambda input: mmcv.ops.roi_pool(input, rois, bins, scale), input=maps
    )


def deform_roi_pool(draw: Draw, kind: str) -> Run:
    """``deform_roi_pool`` with and without offsets."""
    maps, rois, bins, scale = _maps_and_rois(draw, kind)
    # Exact in single precision, in which mmcv takes all such parameters, also for float64.
    options = (bins, scale, draw.pick(0, 2), draw.pick(0.125, 0.5))
    if kind == "no offsets":
        return differentiated(
            draw, lambda input: mmcv.ops.deform_roi_pool(input, rois, None, *options), input=maps
        )
    return differentiated(
        draw,
        lambda input, offset: mmcv.ops.deform_roi_pool(input, rois, offset, *options),
        input=maps,
        offset=draw.normal(len(rois), 2, *bins),
    )


def _convolution(draw: Draw, kind: str) -> tuple[tuple[Any, ...], dict[str, Tensor]]:
    kernel = (draw.pick(1, 3, 5), draw.pick(1, 3, 5))
    stride = (draw.whole(1, 3), draw.whole(1, 3))
    padding = (draw.whole(0, 3), draw.whole(0, 3))
    dilation = (draw.whole(1, 2), draw.whole(1, 2))
    groups, deform_groups = draw.pick(1, 2, 4), draw.pick(1, 2, 4)
    count, size = draw.whole(1, 3), (draw.whole(9, 14), draw.whole(9, 14))
    high, wide = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    )
    places = deform_groups * kernel[0] * kernel[1]
    offset = draw.normal(count, 2 * places, high, wide) * 2
    if kind == "whole offsets":
        offset = offset.round()
    elif kind == "zero offsets":
        offset = torch.zeros_like(offset)
    elif kind == "far offsets":
        offset = offset * 20
    leaves = {
        "input": draw.normal(count, 4, *size),
        "offset": offset,
        "weight": draw.normal(8, 4 // groups, *kernel),
        "mask": draw.uniform(count, places, high, wide),
        "bias": draw.normal(8),
    }
    if kind == "not contiguous":
        leaves = {n: t if t.dim() == 1 else transposed(t) for n, t in leaves.items()}
    return (stride, padding, dilation, groups, deform_groups), leaves


def deform_conv2d(draw: Draw, kind: str) -> Run:
    """``deform_conv2d``, in parts of a batch as well."""
    geometry, leaves = _convolution(draw, kind)
    step = draw.pick(32, 1)

    def call(input: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        return mmcv.ops.deform_conv2d(input, offset, weight, *geometry, False, step)

    return differentiated(
        draw, call, **{name: leaves[name] for name in ("input", "offset", "weight")}
    )


def modulated_deform_conv2d(draw: Draw, kind: str) -> Run:
    """``modulated_deform_conv2d`` with and without bias."""
    geometry, leaves = _convolution(draw, kind)
    if draw.pick(True, False):
        del leaves["bias"]

    def call(
        input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        return mmcv.ops.modulated_deform_conv2d(input, offset, mask, weight, bias, *geometry)

    return differentiated(draw, call, **leaves)


def psa_mask(draw: Draw, kind: str) -> Run:
    """``PSAMask``, masks smaller and larger than the map."""
    mask = (draw.pick(1, 3, 7, 9), draw.pick(1, 3, 7, 9))
    layer = mmcv.ops.PSAMask(kind, mask)
    maps = draw.normal(2, mask[0] * mask[1], draw.whole(1, 5), draw.whole(1, 5))
    return differentiated(draw, layer, input=maps)


def focal_loss(name: str) -> Callable[[Draw, str], Run]:
    """``sigmoid_focal_loss`` or ``softmax_focal_loss``."""

    def case(draw: Draw, kind: str) -> Run:
        rows, classes = draw.whole(1, 40), draw.whole(1, 20)
        logits = draw.normal(rows, classes) * (40 if kind == "large logits" else 3)
        background = name == "sigmoid_focal_loss" and kind != "weighted"
        target = draw.classes(0, classes if background else classes - 1, rows)
        weight = draw.uniform(classes) if kind == "weighted" else None
        options = (draw.pick(0.0, 1.5, 2.0), draw.pick(0.25, 0.5), weight, draw.pick("mean", "sum"))
        function = getattr(mmcv.ops, name)
        return differentiated(draw, lambda input: function(input, target, *options), input=logits)

    return case


def _carafe_arguments(draw: Draw) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    kernel, groups, scale = draw.pick(1, 3, 5), draw.pick(1, 2), draw.whole(1, 3)
    high, wide = draw.whole(1, 6), draw.whole(1, 6)
    features = draw.normal(2, groups * draw.whole(1, 3), high, wide)
    masks = draw.normal(2, groups * kernel**2, high * scale, wide * scale)
    return features, masks, (kernel, groups, scale)


def carafe(draw: Draw, kind: str) -> Run:
    """``carafe``."""
    features, masks, options = _carafe_arguments(draw)
    return differentiated(
        draw,
        lambda features, masks: mmcv.ops.carafe(features, masks, *options),
        features=features,
        masks=masks,
    )


def carafe_naive(draw: Draw, kind: str) -> Run:
    """``carafe_naive``; its backward pass by the operator, which mmcv asks of a GPU only."""
    features, masks, options = _carafe_arguments(draw)
    scale = options[2]
    upstream = draw.normal(*features.shape[:2], *(n * scale for n in features.shape[2:]))
    module = importlib.import_module("mmcv.ops.carafe")  # mmcv.ops.carafe itself is the function

    def run() -> Results:
        output = mmcv.ops.carafe_naive(features, masks, *options)
        grads = torch.zeros_like(features), torch.zeros_like(masks)
        module.ext_module.carafe_naive_backward(upstream, features, masks, *grads, *options)
        return {"output": output, "gradient of features": grads[0], "gradient of masks": grads[1]}

    return run


def masked_conv2d(draw: Draw, kind: str) -> Run:
    """``masked_conv2d``, which has no backward pass."""
    kernel = (draw.pick(1, 3, 5), draw.pick(1, 3, 5))
    padding = (kernel[0] // 2, kernel[1] // 2)
    maps, weight = draw.normal(1, 3, draw.whole(1, 9), draw.whole(1, 9)), draw.normal(4, 3, *kernel)
    mask, bias = draw.uniform(1, *maps.shape[2:]) - 0.5, draw.normal(4)
    return lambda: {"output": mmcv.ops.masked_conv2d(maps, mask, weight, bias, padding)}


def ms_deform_attn(draw: Draw, kind: str) -> Run:
    """The function behind ``MultiScaleDeformableAttention``."""
    levels, points, heads = draw.whole(1, 4), draw.whole(1, 4), draw.pick(1, 2, 4)
    channels = draw.pick(1, 3, 8, 32)
    sizes = draw.classes(1, 7, levels, 2)
    if kind == "whole pixels, exact":
        sizes = 2 ** draw.classes(0, 3, levels, 2)
    area = sizes.prod(1)
    starts = area.cumsum(0) - area
    queries, images = draw.whole(1, 6), draw.pick(1, 2, 4)
    at = draw.uniform(images, queries, heads, levels, points, 2) * 1.6 - 0.3
    if kind.startswith("whole pixels"):
        # Centres of pixels, also of those around the map: exactly so for powers of two only.
        scale = sizes.flip(1)[:, None].to(at)
        at = ((at * scale).round() - 0.5) / scale
    step = draw.pick(64, 1)
    return differentiated(
        draw,
        lambda value, at, weight: MultiScaleDeformableAttnFunction.apply(
            value, sizes, starts, at, weight, step
        ),
        value=draw.normal(images, int(area.sum()), heads, channels),
        at=at,
        weight=draw.uniform(images, queries, heads, levels, points),
    )


def sync_bn(draw: Draw, kind: str) -> Run:
    """The steps of ``SyncBatchNorm`` that one process does."""
    shape = (draw.whole(2, 6), draw.whole(1, 5), draw.whole(1, 6), draw.whole(1, 6))
    if kind == "one value":
        shape = (1, shape[1], 1, 1)
    running = draw.normal(shape[1]), draw.uniform(shape[1])
    mode = draw.pick("default", "N")
    kept: Results = {}

    def call(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean, var = (t.clone() for t in running)
        kept.update({"running mean": mean, "running variance": var})
        return SyncBatchNormFunction.apply(input, mean, var, weight, bias, 0.1, 1e-3, None, 1, mode)

    run = differentiated(
        draw,
        call,
        input=draw.normal(*shape) * 2 + 1,
        weight=draw.uniform(shape[1]),
        bias=draw.normal(shape[1]),
    )
    return lambda: {**run(), **kept}


METHODS = ("linear", "gaussian", "naive")
# mmcv's kernels of nms, soft_nms, nms_match and sync_bn take no other.
_SINGLE = (torch.float32,)
_BOTH = (torch.float32, torch.float64)
_ROIS = ("random", "outside", "no area", "negative size", "whole coordinates", "no rois")
_OFFSETS = ("random", "whole offsets", "zero offsets", "far offsets", "not contiguous")


@dataclass(frozen=True)
class Operator:
    """How to draw calls of one operator."""

    case: Callable[[Draw, str], Run]
    kinds: tuple[str, ...] = ("random",)
    dtypes: tuple[torch.dtype, ...] = _BOTH


OPERATORS: Mapping[str, Operator] = {
    "nms": Operator(
        nms,
        (
            "random",
            "whole coordinates",
            "equal scores",
            "no area",
            "negative size",
            "outside",
            "no boxes",
            "not contiguous",
            "numpy",
        ),
        _SINGLE,
    ),
    "batched_nms": Operator(
        batched_nms, ("nms", "class agnostic", "split_thr", "soft_nms", "none"), _SINGLE
    ),
    "soft_nms": Operator(
        soft_nms,
        (*METHODS, "equal scores", "no area", "negative size", "whole coordinates", "no boxes"),
        _SINGLE,
    ),
    "nms_match": Operator(
        nms_match,
        ("random", "equal scores", "no area", "negative size", "whole coordinates"),
        _SINGLE,
    ),
    "bbox_overlaps": Operator(
        bbox_overlaps, ("random", "no area", "negative size", "outside", "no boxes")
    ),
    "roi_align, avg": Operator(
        roi_align("avg"), (*_ROIS, "maps not contiguous", "gradient not contiguous")
    ),
    "roi_align, max": Operator(
        roi_align("max"), (*_ROIS, "maps not contiguous", "gradient not contiguous")
    ),
    "deform_conv2d": Operator(deform_conv2d, _OFFSETS),
    "modulated_deform_conv2d": Operator(modulated_deform_conv2d, _OFFSETS),
    "psa_mask": Operator(psa_mask, ("collect", "distribute")),
    "roi_pool": Operator(roi_pool, (*_ROIS, "equal pixels")),
    "deform_roi_pool": Operator(deform_roi_pool, ("random", "outside", "no offsets")),
    "sigmoid_focal_loss": Operator(
        focal_loss("sigmoid_focal_loss"), ("random", "weighted", "large logits")
    ),
    "softmax_focal_loss": Operator(
        focal_loss("softmax_focal_loss"), ("random", "weighted", "large logits")
    ),
    "carafe": Operator(carafe),
    "carafe_naive": Operator(carafe_naive),
    "masked_conv2d": Operator(masked_conv2d),
    "ms_deform_attn": Operator(ms_deform_attn, ("random", "whole pixels", "whole pixels, exact")),
    "sync_bn": Operator(sync_bn, ("random", "one value"), _SINGLE),
}
