"""Compacted models in files: weights whose shapes say how wide each layer is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lth_core.compaction.cutting import SIZED, resize
from lth_core.errors import CheckpointError
from lth_core.files import load_tensors, save_tensors
from lth_core.scope import join_some

_FORMAT, _VERSION = "lth compacted model", 1


def save(path: str | Path, model: nn.Module, meta: Mapping[str, Any] | None = None) -> None:
    """Writes a compacted model's weights as one checksummed safetensors file.

    No OpenMMLab tool takes it for a checkpoint of the model as it was, whose tensors of other
    shapes it would silently leave out.

    Args:
        path: Replaced atomically.
        model: From :func:`lth_core.compaction.compact`.
        meta: Anything JSON can hold, to go with it.
    """
    groups = {
        name: module.groups
        for name, module in model.named_modules()
        if isinstance(module, SIZED) and getattr(module, "groups", 1) > 1
    }
    about = {"format": _FORMAT, "version": _VERSION, "groups": groups, "meta": dict(meta or {})}
    save_tensors(path, model.state_dict(), about)


def load(path: str | Path, model: nn.Module) -> dict[str, Any]:
    """Makes of a model as it was before compaction the one that :func:`save` wrote.

    Args:
        path: The file.
        model: Of the same architecture at its full width; changed in place, and put into
            evaluation mode.

    Returns:
        What was saved as ``meta``.

    Raises:
        CheckpointError: If the file is no such file, is damaged, or does not fit the model.
    """
    state, about = load_tensors(path, CheckpointError, "compacted model")
    if about.get("format") != _FORMAT or about.get("version") != _VERSION:
        raise CheckpointError(f"{path} is no compacted model that this version of lth knows")
    own = model.state_dict()
    wrong = [name for name in own if name not in state]
    wrong += [name for name in state if name not in own and not _new_bias(model, name)]
    wrong += [
        name
        for name, tensor in own.items()
        if name in state and not _may_become(model, name, tensor, state[name])
    ]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit {type(model).__name__}: {join_some(wrong)}; "
            "build the model that was compacted"
        )
    for name, module in model.named_modules():
        if isinstance(module, SIZED) and f"{name}.weight" in state:
            weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
            like = module.weight
            resize(
                module,
                weight.to(like),
                None if bias is None else bias.to(like),
                about["groups"].get(name, 1),
            )
            for buffer, tensor in module._buffers.items():
                if tensor is not None and tensor.dim() == 1:
                    module._buffers[buffer] = tensor.new_empty(len(weight))
    model.load_state_dict(state)
    model.eval()
    return dict(about["meta"])


def _owner(model: nn.Module, name: str) -> nn.Module | None:
    place = name.rpartition(".")[0]
    module = dict(model.named_modules()).get(place)
    return module if isinstance(module, SIZED) else None


def _new_bias(model: nn.Module, name: str) -> bool:
    return name.endswith(".bias") and _owner(model, name) is not None


def _may_become(model: nn.Module, name: str, own: Tensor, other: Tensor) -> bool:
    if own.shape == other.shape:
        return True
    narrower = own.dim() == other.dim() and all(
        a >= b > 0 for a, b in zip(own.shape, other.shape, strict=True)
    )
    return narrower and _owner(model, name) is not None and own.shape[2:] == other.shape[2:]
