"""What becomes of channels in each operator: handed on, tied together, or made constant.

An operator for which there is no rule reads all its channels and says nothing of its result. So
does one that Python calls with a number of channels (a split, a slice): the number is written in
the model's code, out of reach.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lth_core.compaction.channels import Layer, Norm, Value
from lth_core.compaction.tracing import Trace

Arguments = dict[str, Any]
Rule = Callable[[Trace, fx.Node, Arguments], Any]

_aten = torch.ops.aten


def follow(trace: Trace, node: fx.Node) -> Any:
    """What is known of a node's result: a :class:`Value`, several, or None."""
    target = node.target
    packet = getattr(target, "overloadpacket", None)
    if all(trace.value(each) is None for each in node.all_input_nodes) and packet not in _LAYERS:
        return None
    arguments = _bind(node)
    rule = _RULES.get(packet)
    if rule is None and torch.Tag.pointwise in getattr(target, "tags", ()):
        rule = _pointwise
    found = rule(trace, node, arguments) if rule is not None and arguments is not None else None
    if found is None:
        for each in node.all_input_nodes:
            trace.pin(each)
    return found


def _bind(node: fx.Node) -> Arguments | None:
    """Arguments by name, those left out as the operator's schema has them."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return None
    bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    bound |= {a.name: given for a, given in zip(schema.arguments, node.args, strict=False)}
    return {**bound, **node.kwargs}


def _shape(node: object) -> tuple[int, ...]:
    shaped = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(shaped.shape) if isinstance(shaped, Tensor) else ()


def _known(constant: np.ndarray) -> np.ndarray:
    return ~np.isnan(constant)


def _numbers(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().double().cpu().numpy()
    return found


# Layers -------------------------------------------------------------------------------------------


def _convolution(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    padding = arguments["padding"]
    padded = padding != "valid" if isinstance(padding, str) else any(np.atleast_1d(padding) != 0)
    return _layer(trace, arguments, 1, kinds, padded, arguments["groups"])


def _linear(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    return _layer(trace, arguments, len(_shape(node)) - 1, nn.Linear, False, 1)


def _layer(
    trace: Trace, arguments: Arguments, dim: int, kinds: Any, padded: bool, groups: int
) -> Value | None:
    owner = trace.owner(arguments["weight"], kinds)
    bias = trace.tensor(arguments["bias"])
    if owner is None or (arguments["bias"] is not None and bias is None):
        return None
    name, module = owner
    weight = module.weight.detach().double().cpu()
    weight = weight.reshape(*weight.shape[:2], -1)
    channels, value = trace.channels, trace.value(arguments["input"])
    if value is not None and value.dim != dim:
        trace.pin(arguments["input"])
        value = None
    if value is None:  # of what it reads nothing is known
        number = weight.shape[1] * groups
        value = Value(dim, channels.fresh(number, pinned=True), np.full(number, np.nan))
    layer = Layer(
        name,
        value.ids,
        channels.fresh(len(weight)),
        value.constant,
        (weight != 0).any(2).numpy(),
        weight.sum(2).numpy(),
        padded,
        groups,
    )
    if groups > 1:
        ins, outs = layer.inputs.reshape(groups, -1), layer.outputs.reshape(groups, -1)
        for group in (ins, outs):
            channels.tie(group[:, 1:].ravel(), group[:, :1].repeat(group.shape[1] - 1, 1).ravel())
        channels.tie(ins[:, 0], outs[:, 0])
    trace.layers.append(layer)
    start = np.zeros(len(weight)) if bias is None else _numbers(bias)
    return Value(dim, layer.outputs, _constant_outputs(layer, start))


def _constant_outputs(layer: Layer, bias: np.ndarray) -> np.ndarray:
    """What outputs are that depend on no picture and no place, NaN for the others."""
    per_group = layer.kernels.shape[1]
    group = np.arange(len(layer.outputs)) // (len(layer.outputs) // layer.groups)
    seen = group[:, None] * per_group + np.arange(per_group)  # by output, the inputs it reads
    depends = (layer.kernels & ~layer.foldable()[seen]).any(1)
    shares = np.nan_to_num(layer.constant)[seen] * layer.sums
    return np.where(depends, np.nan, bias + np.where(layer.kernels, shares, 0).sum(1))


def _batch_norm(trace: Trace, node: fx.Node, arguments: Arguments) -> Any:
    value = trace.value(arguments["input"])
    mean = trace.tensor(arguments["running_mean"])
    var = trace.tensor(arguments["running_var"])
    if value is None or value.dim != 1 or mean is None or var is None or arguments.get("training"):
        return None
    shift = trace.tensor(arguments["bias"])
    owner = trace.owner(arguments["weight"], _BatchNorm)  # None also where there is no weight
    if owner is None or shift is None:
        return None
    trace.norms.append(Norm(owner[0], value.ids))
    gamma, beta = _numbers(owner[1].weight), _numbers(shift)
    factor = gamma / np.sqrt(_numbers(var) + arguments["eps"])
    constant = (value.constant - _numbers(mean)) * factor + beta
    constant = np.where(gamma == 0, beta, constant)
    result = value.with_constant(constant)
    several = "no_training" in str(node.target)
    return (result, None, None) if several else result


# Operators that go channel by channel -------------------------------------------------------------


def _same(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    """Of shape and constants nothing changes."""
    return trace.value(node.args[0])


def _unless_training(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    return None if arguments["train"] else trace.value(arguments["input"])


def _first_of_two(trace: Trace, node: fx.Node, arguments: Arguments) -> Any:
    value = trace.value(node.args[0])
    return value and (value, None)


def _average_pool(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    value = trace.value(node.args[0])
    zeros = any(np.atleast_1d(arguments["padding"]) != 0) and arguments["count_include_pad"]
    return value and _only(value, 0) if zeros else value


def _pad(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    value = trace.value(node.args[0])
    padded_dims = (len(arguments["pad"]) + 1) // 2
    if value is None or value.dim >= len(_shape(node)) - padded_dims:
        return None
    if arguments.get("mode", "constant") != "constant":  # what is added is taken from the picture
        return value
    return _only(value, float(arguments["value"] or 0))


def _only(value: Value, constant: float) -> Value:
    """Constants stay that are ``constant``, the others depend on the place."""
    return value.with_constant(np.where(value.constant == constant, value.constant, np.nan))


def _reduce(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    """A mean or maximum over places."""
    value, shape = trace.value(node.args[0]), _shape(node.args[0])
    if value is None or not arguments["dim"]:
        return None
    dims = {d % len(shape) for d in np.atleast_1d(arguments["dim"]).tolist()}
    if value.dim in dims:
        return None
    gone = 0 if arguments["keepdim"] else sum(d < value.dim for d in dims)
    return Value(value.dim - gone, value.ids, value.constant)


def _pointwise(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    """Operators that compute each number from those at its place, also in sums and products."""
    rank = len(_shape(node))
    nodes = [each for each in node.args if isinstance(each, fx.Node) and _shape(each)]
    if not isinstance(node.meta.get("val"), Tensor) or len(nodes) < len(node.all_input_nodes):
        return None
    # Seen from the right, as shapes are broadcast.
    values = {each: trace.value(each) for each in nodes}
    places = {v.dim + rank - len(_shape(each)) for each, v in values.items() if v is not None}
    if len(places) != 1:
        return None
    dim = places.pop()
    width = _shape(node)[dim]
    full: list[Value] = []
    alone = True  # whether what else takes part is known of every channel
    for each, value in values.items():
        own = dim - rank + len(_shape(each))
        if own < 0 or _shape(each)[own] == 1 != width:
            trace.pin(each)
            alone = False
        elif value is None:
            return None  # a tensor as wide as the channels, which would have to be cut
        else:
            full.append(value)
    if not full:
        return None
    for other in full[1:]:
        trace.channels.tie(other.ids, full[0].ids)
    return Value(dim, full[0].ids, _compute(node, values, full, alone))


def _compute(
    node: fx.Node, values: dict[fx.Node, Value | None], full: list[Value], alone: bool
) -> np.ndarray:
    constants = np.stack([value.constant for value in full])
    found = np.full(constants.shape[1], np.nan)
    known = _known(constants).all(0)
    if alone and known.any():
        vectors = {
            each: torch.from_numpy(np.nan_to_num(value.constant))
            for each, value in values.items()
            if value is not None
        }
        arguments = [vectors.get(a, a) if isinstance(a, fx.Node) else a for a in node.args]
        result = node.target(*arguments, **node.kwargs)  # type: ignore[operator]
        found = np.where(known, result.double().numpy(), np.nan)
    if node.target is _aten.mul.Tensor:
        found = np.where((constants == 0).any(0), 0, found)
    return found


# Shapes -------------------------------------------------------------------------------------------


def _concatenate(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    parts = list(arguments["tensors"])
    values = [trace.value(part) for part in parts]
    dim = arguments["dim"] % len(_shape(node))
    known = [value for value in values if value is not None]
    if any(value.dim != known[0].dim for value in known):
        return None
    if dim != known[0].dim:
        if len(known) < len(parts):
            return None
        for other in known[1:]:
            trace.channels.tie(other.ids, known[0].ids)
        constants = np.stack([value.constant for value in known])
        constant = np.where((constants == constants[0]).all(0), constants[0], np.nan)
        return Value(known[0].dim, known[0].ids, constant)
    ids, constants_of = [], []
    for part, value in zip(parts, values, strict=True):
        width = _shape(part)[dim]
        ids.append(value.ids if value else trace.channels.fresh(width, pinned=True))
        constants_of.append(value.constant if value else np.full(width, np.nan))
    return Value(dim, np.concatenate(ids), np.concatenate(constants_of))


def _view(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    """Flattening: a channel becomes a run of channels."""
    value, before, after = trace.value(node.args[0]), _shape(node.args[0]), _shape(node)
    if value is None:
        return None
    channels, ahead = before[value.dim], prod(before[: value.dim])
    for dim, width in enumerate(after):
        if prod(after[:dim]) != ahead or width % channels or width < channels:
            continue
        run = width // channels
        if prod(before[value.dim + 1 :]) == run * prod(after[dim + 1 :]):
            return Value(dim, value.ids.repeat(run), value.constant.repeat(run))
    return None


def _permute(trace: Trace, node: fx.Node, arguments: Arguments) -> Value | None:
    value = trace.value(node.args[0])
    rank = len(_shape(node))
    order = list(range(rank))
    if "dims" in arguments:
        order = [d % rank for d in arguments["dims"]]
    else:
        one, other = arguments["dim0"] % rank, arguments["dim1"] % rank
        order[one], order[other] = other, one
    return value and Value(order.index(value.dim), value.ids, value.constant)


_LAYERS: dict[Any, Rule] = {
    _aten.conv1d: _convolution,
    _aten.conv2d: _convolution,
    _aten.conv3d: _convolution,
    _aten.linear: _linear,
}
"""Rules of operators that say something of their result whatever they read."""

_RULES: dict[Any, Rule] = {
    **_LAYERS,
    _aten._native_batch_norm_legit_no_training: _batch_norm,
    _aten.batch_norm: _batch_norm,
    _aten.dropout: _unless_training,
    _aten.feature_dropout: _unless_training,
    _aten.avg_pool1d: _average_pool,
    _aten.avg_pool2d: _average_pool,
    _aten.avg_pool3d: _average_pool,
    _aten.max_pool2d_with_indices: _first_of_two,
    _aten.adaptive_max_pool2d: _first_of_two,
    _aten.constant_pad_nd: _pad,
    _aten.pad: _pad,
    _aten.mean: _reduce,
    _aten.amax: _reduce,
    _aten.cat: _concatenate,
    _aten.view: _view,
    _aten._unsafe_view: _view,
    _aten.reshape: _view,
    _aten.flatten: _view,
    _aten.permute: _permute,
    _aten.transpose: _permute,
    **dict.fromkeys(
        (
            _aten.clone,
            _aten.alias,
            _aten.detach,
            _aten.contiguous,
            _aten._to_copy,
            _aten.max_pool1d,
            _aten.max_pool2d,
            _aten.max_pool3d,
            _aten.adaptive_avg_pool1d,
            _aten.adaptive_avg_pool2d,
            _aten.adaptive_avg_pool3d,
            _aten._adaptive_avg_pool2d,
            _aten.upsample_nearest2d,
            _aten.upsample_bilinear2d,
            _aten.upsample_bicubic2d,
        ),
        _same,
    ),
}
