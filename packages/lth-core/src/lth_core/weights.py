"""Weights: snapshots to rewind to, and foreign checkpoints brought to canonical names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lth_core.errors import CheckpointError
from lth_core.scope import TWINS, is_twin, join_some, strip_wrappers, unwrap

HEADS = ("fc.", "head.", "classifier.", "last_linear.")
"""Names that belong to a classifier's or projection head, never to a backbone."""

_CONTAINERS = ("state_dict", "model", "model_state_dict")


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter and buffer on the CPU, by name without wrappers' prefixes."""
    return {
        name: tensor.detach().cpu().clone() for name, tensor in unwrap(model).state_dict().items()
    }


def restore(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Sets ``model`` to a snapshot, bit for bit.

    Raises:
        CheckpointError: If names, shapes or dtypes differ from the model's, which is not changed
            then.
    """
    plain = unwrap(model)
    state = plain.state_dict()
    problems = [f"{name} is missing" for name in state if name not in weights]
    problems += [f"{name} has no place" for name in weights if name not in state]
    for name in state.keys() & weights.keys():
        have, want = weights[name], state[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            problems.append(
                f"{name} is {have.dtype} {tuple(have.shape)}, not {want.dtype} {tuple(want.shape)}"
            )
    if problems:
        raise CheckpointError(
            f"rewind weights do not fit {type(plain).__name__}: {join_some(sorted(problems))}"
        )
    plain.load_state_dict(dict(weights))


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the tensors in sorted order of names."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        if tensor.numel():
            sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def load_backbone(path: str | Path) -> dict[str, Tensor]:
    """The backbone's weights in a checkpoint of any known format, with torchvision's names.

    Known: torchvision and mmpretrain/mmdet/mmseg files, MoCo's (``encoder_q`` wins over
    ``encoder_k``), lth's own tickets with weights, safetensors, and anything that keeps a
    backbone under one prefix. Heads are left out.

    Args:
        path: A ``.pth``-like file, read with ``weights_only=True``, or ``.safetensors``.

    Returns:
        Tensors by name, on the CPU: ``conv1.weight``, ``bn1.running_mean``, ...

    Raises:
        CheckpointError: If the file is missing, unreadable, unsafe, or holds no backbone.
    """
    state = read_state(path)
    if any(name.startswith("mask/") for name in state):
        state = _ticket_weights(path)
    prefix = _backbone_prefix(state)
    found = {
        name[len(prefix) :]: tensor
        for name, tensor in state.items()
        if name.startswith(prefix) and not name[len(prefix) :].startswith((*HEADS, *TWINS))
    }
    if not any(tensor.dim() >= 2 for tensor in found.values()):
        raise CheckpointError(
            f"{path} holds no backbone: its {len(state)} tensors are called "
            f"{join_some(state) or 'nothing'}"
        )
    return found


def _ticket_weights(path: str | Path) -> dict[str, Tensor]:
    from lth_core.ticket import Ticket  # which stands above this module

    weights = Ticket.load(path).weights
    if weights is None:
        raise CheckpointError(f"{path} is a ticket without weights; name a file that holds some")
    return weights


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without wrappers' prefixes; never runs code.

    Raises:
        CheckpointError: If the file is missing, unreadable, or needs more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"weights {path} do not exist (looked for {path.absolute()})")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint of tensors: {reason[:200]}; a file that needs "
            "pickled code is refused, save its state_dict with torch.save instead"
        ) from None
    for _ in range(3):
        inner = next(
            (
                content[key]
                for key in _CONTAINERS
                if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
            ),
            None,
        )
        content = inner if inner is not None else content
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return {
        strip_wrappers(str(name)): tensor
        for name, tensor in content.items()
        if isinstance(tensor, Tensor)
    }


def _backbone_prefix(state: Mapping[str, Tensor]) -> str:
    """Where in ``state`` the backbone lies: by its first block, else by a part called backbone."""
    anchors = ("layer1.0.conv1.weight", "layer1.0.bn1.weight", "features.0.weight")
    prefixes = {
        name.removesuffix(anchor)
        for anchor in anchors
        for name in state
        if name == anchor or name.endswith("." + anchor)
    }
    if not prefixes:
        parts = (("." + name).partition(".backbone.") for name in state)
        prefixes = {(head + part)[1:] for head, part, _ in parts if part}
    return min(prefixes or {""}, key=lambda prefix: (is_twin(prefix), len(prefix), prefix))
