"""Ticket: a mask, the weights to start from, and where they come from, in one file.

The file is a safetensors file: per masked weight the mask as packed bits, and, with weights, the
survivors' values only; all other tensors dense; metadata as JSON. A checksum covers every byte.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth_core.attaching import zero_pruned
from lth_core.backbones import HEADS
from lth_core.errors import MaskError, ScopeError, TicketError
from lth_core.files import load_tensors, save_tensors
from lth_core.masks import MaskSet, pack_bits, unpack_bits
from lth_core.scope import (
    backbone_prefix,
    common_prefix,
    describe_misfit,
    find_prefixes,
    join_some,
    locate,
    printable,
    prunable,
    strip_wrappers,
    unwrap,
)

FORMAT = 1

WEIGHTS_NAME = "weights_name"
"""Key of a ticket's metadata: what its weights are called, for trainings from it."""

_MASK, _SURVIVORS, _DENSE = "mask/", "survivors/", "dense/"
_MAX_DIMENSIONS = 64  # torch's
_MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MaskError,
    TicketError,
)


@dataclass(frozen=True)
class ApplyReport:
    """What :meth:`Ticket.apply` did.

    Attributes:
        prefix: Where in the model the backbone was found, ``""`` or for example ``"backbone."``.
        twins: Prefixes of copies that were masked (and loaded) too.
        masked: Names of the masked weights, relative to ``prefix``.
        loaded: Names of the tensors whose values were set.
        left: Tensors of the ticket for which the model has no place: a classifier's head.
        missing: Tensors of the model's backbone that the ticket does not bring.
        sparsity: Pruned fraction of the weights in scope.
        dropped: Masks for which the model has no place; see :meth:`Ticket.suited`.
    """

    prefix: str
    twins: tuple[str, ...]
    masked: tuple[str, ...]
    loaded: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    sparsity: float
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" at {self.prefix.rstrip('.')}" if self.prefix else ""
        lines = [f"masked {len(self.masked)} weights{where}, sparsity {100 * self.sparsity:.2f} %"]
        if self.loaded:
            lines.append(f"loaded {len(self.loaded)} tensors")
        if self.twins:
            lines.append(f"also into {join_some(self.twins)}")
        if self.left:
            lines.append(f"left out {join_some(self.left)}")
        if self.dropped:
            lines.append(f"{len(self.dropped)} masks have no place: {join_some(self.dropped)}")
        if self.missing and self.loaded:
            lines.append(f"kept the model's own {join_some(self.missing)}")
        return "; ".join(lines)


@dataclass
class Ticket:
    """A mask plus, optionally, the backbone weights to start from.

    Args:
        masks: By weight name. A prefix up to ``backbone.`` is taken off, so that the ticket fits
            any model that carries this backbone.
        weights: State dict of the model or of its backbone, or None for a mask alone. Copied;
            pruned weights become zero, tensors outside the backbone are left out.
        meta: Anything JSON can hold: level, seed, source task, rewind, ...
        dropped: Masks that :meth:`suited` has left out.

    Raises:
        TicketError: If ``weights`` lacks a masked weight or has it in another shape.
    """

    masks: MaskSet
    weights: dict[str, Tensor] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        prefix = common_prefix(list(self.masks))
        self.masks = self.masks.without_prefix(prefix)
        if self.weights is None:
            return
        stripped = {strip_wrappers(name): tensor for name, tensor in self.weights.items()}
        prefixes = find_prefixes(self.masks, stripped)
        if not prefixes:
            raise TicketError(
                f"ticket: the weights do not fit the mask: {describe_misfit(self.masks, stripped)};"
                " take both from one architecture"
            )
        own = strip_wrappers(prefix)
        inner = own if own in prefixes else prefixes[0]
        self.weights = {}
        for name in sorted(name for name in stripped if name.startswith(inner)):
            tensor, mask = stripped[name].detach().cpu(), self.masks.get(name[len(inner) :])
            # Copied in either case: a ticket must not change while its model trains on.
            self.weights[name[len(inner) :]] = (
                tensor.clone() if mask is None else tensor.masked_fill(~mask.cpu(), 0)
            )

    def save(self, path: str | Path) -> None:
        """Writes the ticket atomically: a crash leaves the old file or the new one.

        Raises:
            TicketError: If the place cannot be written or ``meta`` is not JSON.
        """
        tensors = {_MASK + n: torch.from_numpy(pack_bits(m)) for n, m in self.masks.items()}
        for name, tensor in (self.weights or {}).items():
            if name in self.masks:
                tensors[_SURVIVORS + name] = tensor[self.masks[name].cpu()]
            else:
                tensors[_DENSE + name] = tensor
        header = {
            "format": FORMAT,
            "shapes": {name: list(mask.shape) for name, mask in self.masks.items()},
            "digest": self.masks.digest(),
            "sparsity": self.masks.sparsity,
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "meta": self.meta,
        }
        try:
            json.dumps(self.meta, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as problem:
            raise TicketError(f"ticket {path}: its meta is not JSON: {problem}") from None
        try:
            save_tensors(path, tensors, header)
        except OSError as problem:
            raise TicketError(f"ticket {path} cannot be written: {problem.strerror}") from None

    @classmethod
    def load(cls, path: str | Path) -> Ticket:
        """Reads and verifies a ticket file. Never runs code.

        Raises:
            TicketError: If the file is missing, damaged, inconsistent, or no ticket.
        """
        tensors, header = load_tensors(path, TicketError, "ticket")
        try:
            return cls._parse(tensors, header)
        except _MALFORMED as problem:
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise TicketError(f"ticket {path} is inconsistent: {printable(reason, 300)}") from None

    @classmethod
    def _parse(cls, tensors: dict[str, Tensor], header: dict[str, Any]) -> Ticket:
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version reads {FORMAT}")
        shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
        if any(len(shape) > _MAX_DIMENSIONS for shape in shapes.values()):
            raise ValueError(f"a shape has more than {_MAX_DIMENSIONS} dimensions")
        if any(type(size) is not int or size < 0 for shape in shapes.values() for size in shape):
            raise ValueError("a shape is not made of whole numbers")
        masks = {}
        for name, shape in shapes.items():
            packed = tensors.pop(_MASK + name)
            if packed.dtype != torch.uint8:
                raise ValueError(f"the mask of {name} is {packed.dtype}, not packed bits")
            masks[name] = unpack_bits(packed.numpy(), shape)
        weights: dict[str, Tensor] = {}
        for key, tensor in tensors.items():
            name = key.partition("/")[2]
            if name in weights:  # which of the two came last would be left to chance
                raise ValueError(f"{name} is there as {_DENSE} and as {_SURVIVORS}")
            if key.startswith(_DENSE):
                weights[name] = tensor
            elif key.startswith(_SURVIVORS):
                weights[name] = torch.zeros(shapes[name], dtype=tensor.dtype)
                if tensor.shape != (int(masks[name].count_nonzero()),):
                    raise ValueError(f"{name} has {tensor.numel()} survivors for its mask")
                weights[name][masks[name]] = tensor
            else:
                raise ValueError(f"unexpected tensor {key}")
        ticket = cls(MaskSet(masks), weights or None, dict(header["meta"]))
        if ticket.masks.digest() != header["digest"]:
            raise ValueError("its masks have another digest")
        return ticket

    def suited(self, model: nn.Module, shared: bool = False) -> Ticket:
        """The ticket as ``model`` names its weights; itself, if it fits as it is.

        Where shortcuts are pooled before they are convolved, as in ResNet-D, their convolution has
        another number: it is the same weight.

        Args:
            model: Whose backbone has the ticket's architecture, or one that is akin.
            shared: Whether masks for which the model has no place, by name or shape, are left out.

        Raises:
            TicketError: If nothing is left.
        """
        plain = unwrap(model)
        prefix = backbone_prefix(plain)
        state = {
            n.removeprefix(prefix): t for n, t in plain.state_dict().items() if n.startswith(prefix)
        }
        if find_prefixes(self.masks, dict(plain.named_parameters())):
            return self
        names = {
            name: _renumbered(name, tensor, state)
            for name, tensor in {**self.masks, **(self.weights or {})}.items()
        }
        masks = self.masks.rename(lambda name: names[name])
        weights = {names[name]: tensor for name, tensor in (self.weights or {}).items()} or None
        if not shared:
            return Ticket(masks, weights, self.meta)
        dropped = [name for name, mask in masks.items() if not _is_like(mask, state.get(name))]
        kept = MaskSet({name: mask for name, mask in masks.items() if name not in dropped})
        if not kept:
            raise TicketError(
                f"ticket has no weight in common with {type(plain).__name__}: "
                f"{join_some(dropped)} are missing or shaped differently"
            )
        if weights is not None:
            weights = {name: weights[name] for name in weights if name not in dropped}
        return Ticket(kept, weights, self.meta, tuple(dropped))

    def apply(self, model: nn.Module, partial: bool = False) -> ApplyReport:
        """Zeroes the pruned weights of ``model`` and, if the ticket has weights, loads them.

        The backbone is found under whatever prefix the model carries it; twins (momentum encoders)
        are set too. Nothing is changed when the ticket does not fit.

        Args:
            model: A model with a backbone of the ticket's architecture.
            partial: Whether the model's backbone may have prunable weights that the mask does not
                cover, and tensors in other shapes than the ticket's unmasked ones (a CIFAR stem).

        Raises:
            TicketError: If masked weights are missing or shaped differently, or the model has
                prunable weights that the ticket does not know (unless ``partial``).
        """
        try:
            prefix, twins = locate(model, self.masks)
        except MaskError as problem:
            raise TicketError(f"ticket does not fit: {problem}") from None
        plain = unwrap(model)
        if not partial:
            self._require_cover(plain, prefix)
        state = plain.state_dict()
        loaded, left, missing = self._match(state, prefix, partial)
        with torch.no_grad():
            for where in (prefix, *twins):
                for name in loaded:
                    target = state.get(where + name)
                    if target is not None and target.shape == self._weight(name).shape:
                        target.copy_(self._weight(name))
        zero_pruned(plain, self.masks)
        return ApplyReport(
            prefix,
            tuple(twins),
            tuple(self.masks),
            tuple(loaded),
            tuple(left),
            tuple(missing),
            self.masks.sparsity,
            self.dropped,
        )

    def _weight(self, name: str) -> Tensor:
        if self.weights is None:
            raise KeyError(name)
        return self.weights[name]

    def _require_cover(self, model: nn.Module, prefix: str) -> None:
        """A mask of ResNet-18 fits into ResNet-34 by name, but is no ticket of it."""
        kinds = ("conv", "linear") if any(m.dim() == 2 for m in self.masks.values()) else ("conv",)
        # Asked of the backbone itself, since what comes before it in the model is no stem of it.
        backbone = model.get_submodule(prefix.removesuffix("."))
        try:
            scope = prunable(backbone, kinds=kinds)
        except ScopeError:  # nothing but a stem
            return
        extra = [name for name in scope if name not in self.masks]
        if extra:
            raise TicketError(
                f"ticket does not fit {type(model).__name__}: its backbone has {len(extra)} "
                f"prunable weights that the ticket does not cover ({join_some(extra)}); use a "
                "ticket of this architecture, or partial=True where this is meant"
            )

    def _match(
        self, state: Mapping[str, Tensor], prefix: str, partial: bool
    ) -> tuple[list[str], list[str], list[str]]:
        """Sorts the ticket's tensors into loaded and left, and names those the model misses."""
        loaded, left, wrong = [], [], []
        # Convolutions first, since an error names the first few only.
        for name, tensor in sorted((self.weights or {}).items(), key=lambda item: -item[1].dim()):
            target = state.get(prefix + name)
            if target is not None and target.shape == tensor.shape:
                loaded.append(name)
            elif name.startswith(HEADS) or (partial and name not in self.masks):
                left.append(name)
            elif target is None:
                wrong.append(f"{name} has no place")
            else:
                wrong.append(f"{name} is {tuple(target.shape)}, not {tuple(tensor.shape)}")
        if wrong:
            raise TicketError(
                f"ticket does not fit the model: {join_some(wrong)}{_other_stem(wrong, state)}; "
                "use a ticket of this architecture, or partial=True to leave such tensors out"
            )
        names = (name.removeprefix(prefix) for name in state if name.startswith(prefix))
        heads = HEADS if not prefix else ()
        missing = [n for n in names if n not in loaded and not (heads and n.startswith(heads))]
        return loaded, left, missing


def _is_like(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and other.shape == tensor.shape


def _renumbered(name: str, tensor: Tensor, state: Mapping[str, Tensor]) -> str:
    """``name``, or that of its like where a shortcut has a pooling layer more or less."""
    place, found, rest = name.rpartition(".downsample.")
    number, _, part = rest.partition(".")
    if not found or not number.isdigit() or _is_like(tensor, state.get(name)):
        return name
    others = (f"{place}.downsample.{int(number) + step}.{part}" for step in (1, -1))
    return next((other for other in others if _is_like(tensor, state.get(other))), name)


def _other_stem(wrong: list[str], state: Mapping[str, Tensor]) -> str:
    """Says so where it is a deep stem that takes no weights of a plain one, or the other way."""
    deep = sum("stem." in name for name in state)
    if wrong[0].startswith("conv1.") and deep:
        return f" (the model's stem is a deep one of {deep} tensors, which masks do not need)"
    if wrong[0].startswith("stem.") and not deep:
        return " (the ticket's stem is a deep one, the model's is not)"
    return ""
