"""MaskSet: which weights are kept, and the algebra on such sets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lth_core.errors import MaskError
from lth_core.scope import unwrap

if TYPE_CHECKING:
    from typing_extensions import Self


class MaskSet(Mapping[str, Tensor]):
    """Immutable mapping of weight name to a boolean mask of the weight's shape, True = kept.

    Names are kept in sorted order, so that two sets with the same content are equal, count alike
    and have the same digest wherever they come from.

    Args:
        masks: Boolean tensors by weight name. Anything else (0/1 floats, say) is refused rather
            than guessed at; use ``tensor != 0`` where that is meant.

    Raises:
        MaskError: If a mask is not a boolean tensor.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self._masks: dict[str, Tensor] = {}
        for name in sorted(masks):
            mask = masks[name]
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise MaskError(
                    f"MaskSet: the mask of {name} is {kind}, not bool; convert it with `!= 0`"
                )
            self._masks[name] = mask.detach()

    @classmethod
    def ones(cls, model: nn.Module, names: Iterable[str]) -> Self:
        """A mask that keeps everything: level 0.

        Args:
            model: Where the weights live.
            names: Parameter names as given by :func:`lth_core.prunable`.

        Raises:
            MaskError: If ``model`` has no parameter of such a name.
        """
        model = unwrap(model)
        parameters = dict(model.named_parameters())
        masks = {}
        for name in names:
            if name not in parameters:
                raise MaskError(
                    f"MaskSet.ones: {type(model).__name__} has no parameter {name!r}; "
                    "take the names from lth.prunable(model)"
                )
            masks[name] = torch.ones(parameters[name].shape, dtype=torch.bool)
        return cls(masks)

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        return (
            f"MaskSet({len(self)} weights, kept {self.kept:,} of {self.total:,}, "
            f"sparsity {100 * self.sparsity:.2f} %)"
        )

    @property
    def total(self) -> int:
        """Number of weights in scope."""
        return sum(mask.numel() for mask in self._masks.values())

    @property
    def kept(self) -> int:
        """Number of weights that survive."""
        return sum(int(mask.count_nonzero()) for mask in self._masks.values())

    @property
    def sparsity(self) -> float:
        """Fraction of the weights in scope that are pruned, 0 for dense."""
        return 1 - self.kept / self.total if self.total else 0.0

    def layer_sparsity(self) -> dict[str, float]:
        """Pruned fraction of each weight, by name."""
        return {
            name: 1 - int(mask.count_nonzero()) / max(mask.numel(), 1)
            for name, mask in self._masks.items()
        }

    def __invert__(self) -> MaskSet:
        return self.map(torch.logical_not)

    def __and__(self, other: MaskSet) -> MaskSet:
        return self._combine(other, torch.logical_and)

    def __or__(self, other: MaskSet) -> MaskSet:
        return self._combine(other, torch.logical_or)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskSet):
            return NotImplemented
        return self.keys() == other.keys() and all(
            torch.equal(mask, other[name].to(mask.device)) for name, mask in self._masks.items()
        )

    def __hash__(self) -> int:
        return hash(self.digest())

    def issubset(self, other: MaskSet) -> bool:
        """Whether every weight kept here is kept in ``other``: are the two nested?"""
        self._require_alike(other)
        return all(
            not bool((mask & ~other[name].to(mask.device)).any())
            for name, mask in self._masks.items()
        )

    def iou(self, other: MaskSet) -> float:
        """Intersection over union of the kept weights (paper A, Fig. 6), 1 if both keep none."""
        intersection, union = (self & other).kept, (self | other).kept
        return intersection / union if union else 1.0

    def digest(self) -> str:
        """SHA-256 over the masks' bits, in hexadecimal.

        The masks in sorted order of their names, each in C order, packed eight to a byte with the
        lowest bit first and padded to whole bytes. Names and shapes are not part of it, so that
        masks in differently named models can be compared.
        """
        sha = hashlib.sha256()
        for mask in self._masks.values():
            sha.update(pack_bits(mask).tobytes())
        return sha.hexdigest()

    def to(self, device: torch.device | str) -> MaskSet:
        """The same masks on ``device``."""
        return self.map(lambda mask: mask.to(device))

    def map(self, function: Callable[[Tensor], Tensor]) -> MaskSet:
        """A new set with ``function`` applied to every mask."""
        return MaskSet({name: function(mask) for name, mask in self._masks.items()})

    def rename(self, function: Callable[[str], str]) -> MaskSet:
        """A new set with ``function`` applied to every name, for example to strip a prefix.

        Raises:
            MaskError: If two names become one.
        """
        renamed = {function(name): mask for name, mask in self._masks.items()}
        if len(renamed) != len(self):
            raise MaskError("MaskSet.rename: two weights would get the same name")
        return MaskSet(renamed)

    def with_prefix(self, prefix: str) -> MaskSet:
        """A new set with ``prefix`` before every name."""
        return self.rename(lambda name: prefix + name) if prefix else self

    def without_prefix(self, prefix: str) -> MaskSet:
        """A new set with ``prefix`` taken off every name that starts with it."""
        return self.rename(lambda name: name.removeprefix(prefix)) if prefix else self

    def _combine(self, other: MaskSet, operation: Callable[[Tensor, Tensor], Tensor]) -> MaskSet:
        self._require_alike(other)
        return MaskSet(
            {name: operation(m, other[name].to(m.device)) for name, m in self._masks.items()}
        )

    def _require_alike(self, other: MaskSet) -> None:
        for name in sorted(self.keys() ^ other.keys()):
            raise MaskError(f"MaskSet: {name} is in only one of the two sets")
        for name, mask in self._masks.items():
            if mask.shape != other[name].shape:
                raise MaskError(
                    f"MaskSet: {name} is {tuple(mask.shape)} in one set and "
                    f"{tuple(other[name].shape)} in the other"
                )


def pack_bits(mask: Tensor) -> np.ndarray:
    """Booleans in C order as bytes, eight to a byte, lowest bit first; uint8, 1-D."""
    return np.packbits(mask.detach().cpu().contiguous().numpy().reshape(-1), bitorder="little")


def unpack_bits(packed: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Inverse of :func:`pack_bits`.

    Args:
        packed: uint8 of length ceil(n / 8), where n is the product of ``shape``.
        shape: Shape of the mask.

    Returns:
        Bool tensor of ``shape``.

    Raises:
        MaskError: If the length does not fit the shape or a padding bit is set.
    """
    count = 1
    for size in shape:
        count *= size
    if packed.ndim != 1 or packed.size != -(-count // 8):
        raise MaskError(f"mask of shape {shape} takes {-(-count // 8)} bytes, not {packed.size}")
    bits = np.unpackbits(packed, bitorder="little")
    if bits[count:].any():
        raise MaskError(f"mask of shape {shape} has bits beyond its end")
    return torch.from_numpy(bits[:count].astype(bool).reshape(shape))
