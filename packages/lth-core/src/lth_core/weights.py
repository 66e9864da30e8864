"""Weights: snapshots to rewind to and their digests.

Foreign checkpoints are read in :mod:`lth_core.checkpoints` and brought to canonical names in
:mod:`lth_core.backbones`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lth_core.backbones import load_backbone
from lth_core.checkpoints import read_state
from lth_core.errors import CheckpointError
from lth_core.scope import join_some, unwrap
from lth_core.sharding import full, spread_like

__all__ = ["digest", "load_backbone", "read_state", "restore", "snapshot"]


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter and buffer on the CPU, by name without wrappers' prefixes.

    Of a model that is sharded over processes every process has to take it, and gets all.
    """
    return {
        name: full(tensor.detach()).cpu().clone()
        for name, tensor in unwrap(model).state_dict().items()
    }


def restore(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Sets ``model`` to a snapshot, bit for bit.

    Of a model that is sharded over processes each takes its part of ``weights``.

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
    plain.load_state_dict({name: spread_like(weights[name], state[name]) for name in state})


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the tensors in sorted order of names."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = full(weights[name].detach()).cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        if tensor.numel():
            sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
