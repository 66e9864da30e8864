"""Which channels are needed, and modules without those that are not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lth_core.compaction.channels import Layer
from lth_core.compaction.tracing import Trace

SIZED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, _BatchNorm)
"""Modules whose widths may change."""


def needed(trace: Trace) -> np.ndarray:
    """By id, whether its class of channels is needed; true for the ids that stand for a class.

    Needed is what the model gives out, and what a needed channel depends on, but for constants
    that can be folded into the layer that reads them. Of every layer at least one channel stays.
    """
    roots = trace.channels.roots
    alive = trace.channels.pinned()
    layers = [(layer, roots(layer.inputs), roots(layer.outputs)) for layer in trace.layers]
    axes = [axis for _, inputs, outputs in layers for axis in (inputs, outputs)]
    axes += [roots(norm.ids) for norm in trace.norms]
    while True:
        before = int(alive.sum())
        for layer, inputs, outputs in reversed(layers):
            if layer.groups == 1:  # groups are one class each, inputs and outputs together
                alive[inputs[_reads(layer, alive[outputs])]] = True
        if int(alive.sum()) == before:
            empty = [axis for axis in axes if not alive[axis].any()]
            if not empty:
                return alive
            alive[empty[-1][0]] = True


def _reads(layer: Layer, outputs: np.ndarray) -> np.ndarray:
    """Which inputs a layer cannot do without, given the outputs that are needed."""
    looked_at = layer.kernels[outputs].any(0) & ~layer.foldable()
    carrier = layer.carrier()
    if carrier is None:
        return looked_at
    constant = ~np.isnan(layer.constant)
    reads = looked_at & ~constant
    reads[carrier] = bool((looked_at & constant).any())
    return reads


def cut(trace: Trace, alive: np.ndarray, model: nn.Module) -> None:
    """Takes out of ``model`` what is not needed.

    Args:
        trace: Of a model with the same weights.
        alive: What is needed.
        model: Changed in place.
    """
    for norm in trace.norms:
        _cut_norm(model.get_submodule(norm.name), _kept(trace, norm.ids, alive))
    for layer in trace.layers:
        inputs, outputs = (_kept(trace, ids, alive) for ids in (layer.inputs, layer.outputs))
        _cut_layer(model.get_submodule(layer.name), layer, inputs, outputs)


def _kept(trace: Trace, ids: np.ndarray, alive: np.ndarray) -> np.ndarray:
    return alive[trace.channels.roots(ids)]


def _cut_norm(module: nn.Module, kept: np.ndarray) -> None:
    if kept.all():
        return
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and tensor.dim() == 1:
            _put(module, name, tensor.detach()[torch.from_numpy(kept).to(tensor.device)])
    module.num_features = int(kept.sum())  # type: ignore[assignment]


def _cut_layer(module: nn.Module, layer: Layer, inputs: np.ndarray, outputs: np.ndarray) -> None:
    if inputs.all() and outputs.all():
        return
    weight, bias = module.get_parameter("weight").detach(), module._parameters.get("bias")
    shifted = None if bias is None else bias.detach()
    groups = layer.groups
    if groups > 1:
        groups = int(inputs.reshape(groups, -1).any(1).sum())
        inputs = np.ones(weight.shape[1], dtype=bool)
    else:
        exact = weight.double()
        weight = _merge(exact, layer, inputs).to(weight.dtype)
        gone = ~inputs & layer.foldable() & (layer.constant != 0)
        shift = (np.where(layer.kernels, layer.sums, 0)[:, gone] * layer.constant[gone]).sum(1)
        if shift[outputs].any():
            start = weight.new_zeros(len(weight)) if shifted is None else shifted
            shifted = (start.double() + torch.from_numpy(shift).to(start.device)).to(weight.dtype)
    rows, columns = (torch.from_numpy(kept).to(weight.device) for kept in (outputs, inputs))
    resize(module, weight[rows][:, columns], None if shifted is None else shifted[rows], groups)


def _merge(weight: Tensor, layer: Layer, inputs: np.ndarray) -> Tensor:
    """Puts the kernels of constants that no bias can stand for into that of their carrier."""
    carrier = layer.carrier()
    gone = ~inputs & ~layer.foldable() & ~np.isnan(layer.constant)
    if carrier is None or not gone.any():
        return weight
    share = torch.from_numpy(layer.constant[gone] / layer.constant[carrier]).to(weight.device)
    lost = weight[:, torch.from_numpy(gone).to(weight.device)]
    weight = weight.clone()
    weight[:, carrier] += torch.tensordot(lost, share, dims=([1], [0]))
    return weight


def resize(module: nn.Module, weight: Tensor, bias: Tensor | None, groups: int = 1) -> None:
    """Gives a convolution, linear layer or norm other weights, and the widths that go with them."""
    _put(module, "weight", weight)
    if bias is not None:
        _put(module, "bias", bias)
    if isinstance(module, _BatchNorm):
        module.num_features = len(weight)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    else:
        module.out_channels, module.groups = len(weight), groups  # type: ignore[assignment]
        module.in_channels = weight.shape[1] * groups  # type: ignore[assignment]


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Replaces a parameter or buffer, or adds a bias."""
    if name in module._buffers:
        module._buffers[name] = tensor.contiguous()
        return
    like = module._parameters[name]
    trained = like is None or like.requires_grad
    module._parameters[name] = nn.Parameter(tensor.contiguous(), requires_grad=trained)
