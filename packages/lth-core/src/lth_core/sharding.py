"""Weights that are spread over processes: torch's ``fully_shard`` and tensor parallelism.

Such a parameter is a DTensor: it has the shape of the whole weight, and each process holds a part
of it. What is done element by element is done on that part, with the same part of the mask, so
that no process has to wait for another. Tensors that are not spread pass through unchanged.
"""

from __future__ import annotations

import sys

from torch import Tensor, nn


def local(tensor: Tensor) -> Tensor:
    """The part of ``tensor`` that this process holds; it shares memory with ``tensor``."""
    # Asking for the method spares the import of torch.distributed.tensor, which takes a while.
    own = getattr(tensor, "to_local", None)
    return tensor if own is None else own()


def full(tensor: Tensor) -> Tensor:
    """All of ``tensor``. Every process of its mesh has to ask for it."""
    whole = getattr(tensor, "full_tensor", None)
    return tensor if whole is None else whole()


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor``, of which every process has all, spread over the processes as ``like`` is."""
    if not hasattr(like, "to_local"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(like, DTensor)
    everywhere = [Replicate()] * like.device_mesh.ndim
    whole = DTensor.from_local(tensor, like.device_mesh, everywhere, run_check=False)
    return whole.redistribute(placements=like.placements)


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that optimizers see, by name.

    ``fully_shard`` puts the whole weights in their place while a forward pass needs them, and
    leaves those of the outermost module there until its backward pass.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", ())
    for module in model.modules():
        if isinstance(module, kind):
            module.reshard()
    return dict(model.named_parameters())
