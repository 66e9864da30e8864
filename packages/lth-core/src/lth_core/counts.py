"""How many parameters and FLOPs a model has, dense and with masks.

One multiply-add is one FLOP, as in OpenMMLab's ``get_flops.py``, with which dense counts agree: a
convolution's padding counts like its picture; a norm costs two FLOPs a value, or five where it
takes its statistics from the picture, one less without scale; bilinear interpolation four a value
of its result, nearest one; adaptive average pooling one a value it reads; biases, activations,
other pooling and additions nothing. Three things are counted on top of that: attention that runs
fused, a mean over the picture that is not written as pooling, and deformable convolutions, which
cost what ordinary ones do.

With masks, every multiply-add with a pruned weight is left out and everything else stays: norms,
biases, and what follows a channel of which nothing is left. That is what a sparse kernel could
save at most, not what a dense one does save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lth_core.masks import MaskSet
from lth_core.modes import evaluating
from lth_core.scope import backbone_prefix, is_deformable, locate, unwrap

_aten = torch.ops.aten


@dataclass(frozen=True)
class Count:
    """Parameters and FLOPs of a model or of a part of it.

    Attributes:
        params: All parameters, frozen ones too; a shared one where it is first.
        kept_params: Those that are not pruned.
        flops: Of one pass, dense.
        kept_flops: Without multiply-adds with pruned weights.
    """

    params: int = 0
    kept_params: int = 0
    flops: int = 0
    kept_flops: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.params + other.params,
            self.kept_params + other.kept_params,
            self.flops + other.flops,
            self.kept_flops + other.kept_flops,
        )


@dataclass(frozen=True)
class Counts:
    """What :func:`count` has counted.

    Attributes:
        modules: Of every module by name, what is its own: children are not part of it.
        backbone: The prefix of the model's backbone, ``"backbone."`` or ``""``.
    """

    modules: dict[str, Count]
    backbone: str = ""

    @property
    def total(self) -> Count:
        """Of the whole model."""
        return self.of("")

    def of(self, name: str) -> Count:
        """Of the module ``name`` with all that is in it."""
        inside = f"{name}." if name else ""
        found = [c for n, c in self.modules.items() if n == name or n.startswith(inside)]
        return sum(found, Count())

    def layers(self) -> dict[str, Count]:
        """By module, those left out that have nothing of their own."""
        return {name: own for name, own in self.modules.items() if own != Count()}

    def stages(self) -> dict[str, Count]:
        """By child of the backbone and by other part of the model, what is empty left out."""
        stages: dict[str, Count] = {}
        for name, own in self.modules.items():
            stem = self.backbone if name.startswith(self.backbone) else ""
            stage = stem + name[len(stem) :].partition(".")[0]
            stages[stage] = stages.get(stage, Count()) + own
        return {stage: own for stage, own in stages.items() if own != Count()}


def count(
    model: nn.Module,
    masks: MaskSet | None,
    inputs: Tensor | tuple[Any, ...],
    forward: Callable[..., object] | None = None,
) -> Counts:
    """Counts parameters, and FLOPs of one pass in evaluation mode.

    Args:
        model: Neither changed nor, but for the pass, used.
        masks: Named as in the model or relative to its backbone; twins of it are pruned too. None
            counts the model as dense.
        inputs: The model's input, or a tuple of its positional ones.
        forward: What to call in place of the model, for example ``model.extract_feat``.

    Returns:
        The counts of every module.

    Raises:
        MaskError: If the masks do not fit the model.
    """
    model = unwrap(model)
    named = dict(model.named_parameters())
    kept: dict[str, Tensor] = {}
    if masks is not None:
        prefix, twins = locate(model, masks)
        kept = {place + n: mask for place in (prefix, *twins) for n, mask in masks.items()}
    tally = _Tally(model, {name: (named[name], mask) for name, mask in kept.items()})
    for name, parameter in named.items():
        alive = int(kept[name].count_nonzero()) if name in kept else parameter.numel()
        tally.add(name.rpartition(".")[0], Count(parameter.numel(), alive))
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad(), evaluating(model), _unfused_attention(), tally.following(), tally:
        (forward or model)(*arguments)
    return Counts(tally.modules, backbone_prefix(model))


class _Tally(TorchDispatchMode):
    """Adds up what every operator costs that is called while it is active."""

    def __init__(self, model: nn.Module, masked: dict[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.modules = {name: Count() for name, _ in model.named_modules()}
        self._model = model
        self._places = [""]
        # Operators see weights, or views of them, without their names: memory tells which it is.
        self._masks = {}
        for weight, mask in masked.values():
            alike = torch.empty_like(weight, dtype=torch.bool).copy_(mask)
            self._masks[weight.untyped_storage().data_ptr()] = weight.storage_offset(), alike

    def add(self, place: str, cost: Count) -> None:
        """Adds ``cost`` to what the module ``place`` has of its own."""
        self.modules[place] += cost

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        if operator in _PRODUCTS:
            self._multiply(_PRODUCTS[operator](args, out))
        elif operator in _OTHERS:
            cost = _OTHERS[operator](args, out)
            self.add(self._places[-1], Count(flops=cost, kept_flops=cost))
        elif operator in flop_registry:  # torch's own formulas, in which a multiply-add is two
            cost = flop_registry[operator](*args, **(kwargs or {}), out_val=out) // 2
            self.add(self._places[-1], Count(flops=cost, kept_flops=cost))
        return out

    @contextmanager
    def following(self) -> Iterator[None]:
        """Keeps track of the module that is at work."""
        with ExitStack() as stack:
            for name, module in self._model.named_modules():
                for handle in self._follow(name, module):
                    stack.callback(handle.remove)
            yield

    def _follow(self, name: str, module: nn.Module) -> tuple[Any, Any]:
        def enter(*_: Any) -> None:
            self._places.append(name)

        def leave(_module: nn.Module, _inputs: Any, out: Any) -> None:
            if is_deformable(module):  # a kernel that nothing can look into
                weight = module.get_parameter("weight")
                self._multiply([(weight, out.numel() // out.shape[1])])
            self._places.pop()

        return module.register_forward_pre_hook(enter), module.register_forward_hook(leave)

    def _multiply(self, operands: list[tuple[Tensor, int]]) -> None:
        """Adds a product, given each operand that may be a weight and how often each entry acts."""
        costs = [(tensor.numel() * uses, self._kept(tensor), uses) for tensor, uses in operands]
        dense, kept, uses = next((c for c in costs if c[1] is not None), costs[0])
        alive = dense if kept is None else kept * uses
        self.add(self._places[-1], Count(flops=dense, kept_flops=alive))

    def _kept(self, tensor: Tensor) -> int | None:
        """Entries of ``tensor`` that are not pruned, None if it is no part of a masked weight."""
        start, mask = self._masks.get(tensor.untyped_storage().data_ptr(), (0, None))
        if mask is None:
            return None
        offset = tensor.storage_offset() - start
        return int(mask.as_strided(tensor.shape, tensor.stride(), offset).count_nonzero())


def _convolution(args: Any, out: Tensor) -> list[tuple[Tensor, int]]:
    picture, kernels, transposed = args[0], args[1], args[6]
    places = picture if transposed else out
    # Every entry of the kernels acts once at each place, whatever stride, dilation and groups.
    return [(kernels, picture.shape[0] * prod(places.shape[2:]))]


def _matrices(left: Tensor, right: Tensor) -> list[tuple[Tensor, int]]:
    return [(right, left.shape[-2]), (left, right.shape[-1])]


_PRODUCTS: dict[Any, Callable[[Any, Any], list[tuple[Tensor, int]]]] = {
    _aten.convolution: _convolution,
    _aten.mm: lambda args, out: _matrices(args[0], args[1]),
    _aten.bmm: lambda args, out: _matrices(args[0], args[1]),
    _aten.addmm: lambda args, out: _matrices(args[1], args[2]),
    _aten.baddbmm: lambda args, out: _matrices(args[1], args[2]),
    _aten.mv: lambda args, out: [(args[0], 1)],
    _aten.addmv: lambda args, out: [(args[1], 1)],
}
"""The operands that may be weights, and how often each of their entries acts."""


def _batch_norm(args: Any, out: Any) -> int:
    scale, own_statistics = args[1] is not None, args[5]
    return int(args[0].numel() * ((4 if own_statistics else 1) + scale))


def _norm(place_of_scale: int) -> Callable[[Any, Any], int]:
    return lambda args, out: int(args[0].numel() * (4 + (args[place_of_scale] is not None)))


def _mean(args: Any, out: Tensor) -> int:
    """Adaptive pooling to one value comes as a mean over the picture."""
    over_picture = args[0].dim() == 4 and sorted(d % 4 for d in args[1] or ()) == [2, 3]
    return int(args[0].numel()) if over_picture else 0


_OTHERS: dict[Any, Callable[[Any, Any], int]] = {
    _aten.native_batch_norm: _batch_norm,
    _aten.cudnn_batch_norm: _batch_norm,
    _aten.miopen_batch_norm: _batch_norm,
    _aten.native_group_norm: _norm(1),
    _aten.native_layer_norm: _norm(2),
    _aten.upsample_nearest2d: lambda args, out: int(out.numel()),
    _aten.upsample_bilinear2d: lambda args, out: 4 * int(out.numel()),
    _aten.grid_sampler_2d: lambda args, out: 4 * int(out.numel()),
    _aten._adaptive_avg_pool2d: lambda args, out: int(args[0].numel()),
    _aten.mean: _mean,
}
"""FLOPs of what has no weight that could be pruned: the rules of ``mmengine.analysis``."""


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Has ``nn.MultiheadAttention`` call operators that can be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
