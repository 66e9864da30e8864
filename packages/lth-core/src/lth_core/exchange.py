"""Masks in the files of others: the papers' mask dictionaries and ``torch.nn.utils.prune``.

Their common form is one float tensor of zeros and ones per pruned weight, called
``layer1.0.conv1.weight_mask``, alone or beside ``..._orig`` in a pruned model's state dict. A mask
is never inferred from zeros among the weights.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth_core.backbones import load_backbone
from lth_core.checkpoints import Checkpoint, read_checkpoint, stem
from lth_core.errors import CheckpointError, MaskError, TicketError
from lth_core.files import write_atomic
from lth_core.masks import MaskSet
from lth_core.scope import STEMS, is_twin, join_some, strip_wrappers
from lth_core.ticket import WEIGHTS_NAME, Ticket

_MASK = "_mask"
_PREFIXES = ("module.", "_orig_mod.", "encoder_q.", "backbone.", "model.", "student.", "1.")
# The last is that of a network behind a layer that normalises: nn.Sequential(normalize, network).
_LEVEL = re.compile(r"mask-(\d{1,4})\b|(\d{1,4})-?(?:model_best|checkpoint)")


def read_masks(path: str | Path) -> MaskSet:
    """The masks in a foreign file, by canonical names.

    Known: a dictionary of ``*.weight_mask`` tensors (``mask-{k}.pt``); a pruned model's state
    dict, bare or in a checkpoint; a checkpoint with masks under the key ``mask``
    (``{k}model_best.pth.tar``); a dictionary of nothing but masks under the weights' own names.
    Prefixes of wrappers, ``encoder_q.`` and ``backbone.`` are taken off. Of a momentum encoder
    (``encoder_k.``) the masks are left out where the encoder itself has some.

    Args:
        path: A ``.pth``-like file, read with ``weights_only=True``, or ``.safetensors``.

    Raises:
        CheckpointError: If the file cannot be read or holds no masks.
        MaskError: If a mask has a value other than 0 and 1, or a weight's mask another shape.
    """
    checkpoint = read_checkpoint(path)
    found = _named_masks(checkpoint)
    if not found:
        names = list(checkpoint.model | checkpoint.beside)
        raise CheckpointError(
            f"{path} holds no masks: none of its {len(names)} tensors is called *{_MASK} "
            f"({join_some(names) or 'there are none'}); lth ticket make prunes weights by magnitude"
        )
    own = {name: mask for name, mask in found.items() if not is_twin(name)}
    found = _without_prefix(own or found)
    everything = checkpoint.model | checkpoint.beside
    for name, tensor in everything.items():
        mask = everything.get(name.removesuffix("_orig") + _MASK)
        if name.endswith("_orig") and mask is not None and mask.shape != tensor.shape:
            raise MaskError(
                f"{path}: {join_some([name])} is {tuple(tensor.shape)}, its mask "
                f"{tuple(mask.shape)}"
            )
    return MaskSet({name: _as_bool(path, name, mask) for name, mask in found.items()})


def read_chain(paths: Sequence[str | Path]) -> list[MaskSet]:
    """The masks of several levels of one pruning, densest first.

    Raises:
        MaskError: If a file's weights are not those of the file before it, or it keeps a weight
            that was pruned there; and as :func:`read_masks`.
    """
    chain = [read_masks(path) for path in paths]
    for before, after, one, other in zip(chain, chain[1:], paths, paths[1:], strict=False):
        if odd := sorted(before.keys() ^ after.keys()):
            raise MaskError(
                f"{other} is no next level of {one}: only one of them has {join_some(odd)}"
            )
        for name, mask in after.items():
            if mask.shape != before[name].shape:
                raise MaskError(
                    f"{other} is no next level of {one}: {name} is {tuple(mask.shape)}, before "
                    f"{tuple(before[name].shape)}"
                )
            if back := int((mask & ~before[name]).count_nonzero()):
                raise MaskError(
                    f"{other} is not nested in {one}: {back:,} weights of {name} are kept that "
                    "were pruned before; name the files of one chain, the densest first"
                )
    return chain


def import_tickets(paths: Sequence[str | Path], weights: str | Path | None = None) -> list[Ticket]:
    """Tickets of foreign mask files, one per file; several files are levels of one chain.

    Args:
        paths: The files; of a chain the densest first.
        weights: A checkpoint to take the start weights from, None for masks alone. The weights
            in a mask file itself are what its training ended with, so they are taken only if
            that file is named here too.

    Raises:
        LTHError: As :func:`read_chain`, or if the weights do not fit the masks.
    """
    start = None if weights is None else load_backbone(weights)
    tickets: list[Ticket] = []
    for path, masks in zip(paths, read_chain(paths), strict=True):
        meta: dict[str, Any] = {
            "source": Path(path).name,
            "stem": any(name.startswith(STEMS) for name in masks),
            "parent": tickets[-1].masks.digest() if tickets else None,
        }
        if match := _LEVEL.match(Path(path).name):
            meta["level"] = int(match[1] or match[2])
        if weights is not None:
            meta |= {"weights": Path(weights).name, WEIGHTS_NAME: stem(weights)}
        tickets.append(Ticket(masks, start, meta))
    return tickets


def export(ticket: Ticket, path: str | Path, form: str, prefix: str = "") -> int:
    """Writes a ticket in a form that others read, with :func:`torch.save`.

    Args:
        ticket: The ticket.
        path: Where to; replaced atomically.
        form: ``"papers"``: a dictionary of ``*.weight_mask`` tensors of float zeros and ones.
            ``"torch-prune"``: the state dict of the model after ``torch.nn.utils.prune``, with
            ``*.weight_orig`` (zero where pruned) and ``*.weight_mask`` of the weight's dtype.
            ``"dense"``: an ordinary state dict with zeros where pruned.
        prefix: What to put before every name, ``"module."`` for example.

    Returns:
        Number of tensors written.

    Raises:
        TicketError: If the form is unknown, needs weights that the ticket lacks, or the place
            cannot be written.
    """
    if form not in FORMATS:
        raise TicketError(f"unknown format {form!r}; use {', '.join(FORMATS)}")
    state = {prefix + name: tensor for name, tensor in FORMATS[form](ticket).items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as problem:
        raise TicketError(f"{path} cannot be written: {problem.strerror}") from None
    return len(state)


def _papers(ticket: Ticket) -> dict[str, Tensor]:
    return {name + _MASK: mask.float() for name, mask in ticket.masks.items()}


def _torch_prune(ticket: Ticket) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, tensor in _weights(ticket).items():
        if name in ticket.masks:
            state[f"{name}_orig"] = tensor
            state[name + _MASK] = ticket.masks[name].to(tensor.dtype)
        else:
            state[name] = tensor
    return state


def _weights(ticket: Ticket) -> dict[str, Tensor]:
    if ticket.weights is None:
        raise TicketError(
            "the ticket has no weights to write; use format papers, or give it some first"
        )
    return dict(ticket.weights)


FORMATS: dict[str, Callable[[Ticket], dict[str, Tensor]]] = {
    "papers": _papers,
    "torch-prune": _torch_prune,
    "dense": _weights,
}


def _named_masks(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The masks of a file, by the names of their weights."""
    own = {n[len("mask.") :]: t for n, t in checkpoint.beside.items() if n.startswith("mask.")}
    if not checkpoint.container:
        own |= {n[len("mask.") :]: t for n, t in checkpoint.model.items() if n.startswith("mask.")}
    if own:
        return {name.removesuffix(_MASK): tensor for name, tensor in own.items()}
    for tensors in (checkpoint.model, checkpoint.beside):
        marked = {n.removesuffix(_MASK): t for n, t in tensors.items() if n.endswith(_MASK)}
        if marked:
            return marked
    tensors = checkpoint.model
    if tensors and all(n.endswith(".weight") and _is_binary(t) for n, t in tensors.items()):
        return tensors
    return {}


def _without_prefix(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes off what every name begins with, as far as it is known to be no part of a backbone."""
    named = {strip_wrappers(name): mask for name, mask in masks.items()}
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in named)), None):
        named = {name[len(prefix) :]: mask for name, mask in named.items()}
    return named


def _is_binary(tensor: Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _as_bool(path: str | Path, name: str, mask: Tensor) -> Tensor:
    odd = mask[(mask != 0) & (mask != 1)]
    if odd.numel():
        raise MaskError(
            f"{path}: the mask of {join_some([name])} is not binary: {odd.numel():,} of its "
            f"values are neither 0 nor 1, the first is {odd.flatten()[0].item()}"
        )
    return mask != 0
