"""From a model and an input to its channels: one walk along the operators of its forward pass.

The graph is that of :func:`torch.export.export`: operators without side effects, parameters by
name, whatever Python the model is written in. Every operator says what becomes of its inputs'
channels (:mod:`lth_core.compaction.rules`); one without a rule leaves what it reads as it is.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from lth_core.compaction.channels import Channels, Layer, Norm, Value
from lth_core.errors import ConfigError

Forward = Callable[..., Any]
"""What a model is run by: called with the model and its inputs."""

_SILENT = ("_assert_tensor_metadata", "sym_size", "sym_numel", "sym_stride", "_assert_scalar")


@dataclass
class Trace:
    """A model's operators, and what has been found of them.

    Attributes:
        model: As it was traced.
        channels: All of them.
        layers: Convolutions and linear layers whose widths may be changed.
        norms: Batch norms likewise.
    """

    model: nn.Module
    channels: Channels = field(default_factory=Channels)
    layers: list[Layer] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    _tensors: dict[fx.Node, tuple[str, Tensor]] = field(default_factory=dict)
    _values: dict[fx.Node, Any] = field(default_factory=dict)

    def value(self, node: object) -> Value | None:
        """What is known of a node's tensor, None if nothing is."""
        found = self._values.get(node) if isinstance(node, fx.Node) else None
        return found if isinstance(found, Value) else None

    def tensor(self, node: object) -> Tensor | None:
        """The parameter or buffer that a node stands for, None if it is none."""
        found = self._tensors.get(node) if isinstance(node, fx.Node) else None
        return found[1] if found is not None else None

    def owner(self, node: object, kinds: type | tuple[type, ...]) -> tuple[str, Any] | None:
        """The module whose weight a node is, by name, if nothing else reads that weight."""
        if not isinstance(node, fx.Node) or node not in self._tensors:
            return None
        name, tensor = self._tensors[node]
        place, _, last = name.rpartition(".")
        module = self.model.get_submodule(place)
        same = [n for n, t in self._tensors.items() if t[1] is tensor]
        used = sum(len(n.users) for n in same)
        own = last == "weight" and used == 1 and isinstance(module, kinds)
        return (place, module) if own else None

    def pin(self, node: object) -> None:
        """Says that all channels of what a node holds are needed."""
        value = self.value(node)
        if value is not None:
            self.channels.pin(value.ids)


def trace(model: nn.Module, inputs: tuple[Tensor, ...], forward: Forward) -> Trace:
    """Walks along the operators of one pass.

    Args:
        model: In evaluation mode.
        inputs: Of the pass.
        forward: Called with the model and the inputs.

    Raises:
        ConfigError: If torch cannot trace the pass.
    """
    from lth_core.compaction.rules import follow

    program = _export(model, inputs, forward)
    found = Trace(model)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors: dict[str, Tensor] = dict(model.named_buffers(remove_duplicate=False))
    tensors.update(model.named_parameters(remove_duplicate=False))
    for node in program.graph.nodes:
        if node.op == "placeholder":
            _open(found, node, names, tensors)
        elif node.op == "output":
            for each in node.all_input_nodes:
                found.pin(each)
        elif node.op == "call_function":
            found._values[node] = _call(found, node, follow)
    return found


def _open(found: Trace, node: fx.Node, names: dict[str, str], tensors: dict[str, Tensor]) -> None:
    if node.name in names:
        name = names[node.name].removeprefix("model.")
        if name in tensors:
            found._tensors[node] = name, tensors[name]
    elif isinstance(shaped := node.meta.get("val"), Tensor) and shaped.dim() > 1:
        unknown = np.full(shaped.shape[1], np.nan)
        found._values[node] = Value(1, found.channels.fresh(len(unknown), pinned=True), unknown)


def _call(found: Trace, node: fx.Node, follow: Callable[[Trace, fx.Node], Any]) -> Any:
    if node.target is operator.getitem:
        several, place = node.args
        results = found._values.get(several) if isinstance(several, fx.Node) else None
        return results[place] if isinstance(results, tuple) and isinstance(place, int) else None
    if any(word in str(node.target) for word in _SILENT):
        return None
    return follow(found, node)


class Whole(nn.Module):
    """A model with the pass that is meant as its ``forward``.

    Args:
        model: Under this name in the module.
        forward: None for the model's own.
    """

    def __init__(self, model: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.model = model
        self._call = forward

    def forward(self, pictures: Tensor, *more: Tensor) -> Any:
        """The pass."""
        given = (pictures, *more)
        return self.model(*given) if self._call is None else self._call(self.model, *given)


def _export(
    model: nn.Module, inputs: tuple[Tensor, ...], forward: Forward
) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(Whole(model, forward), inputs, strict=False)
            return program.run_decompositions({})  # no operator writes into its input any more
    except Exception as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ConfigError(
            f"{type(model).__name__} cannot be traced by torch.export: {reason}; give a forward "
            "pass without decisions that depend on the picture, such as extract_feat"
        ) from problem
