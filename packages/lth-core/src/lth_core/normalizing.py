"""What a model's own first layer makes of pixels, as robust models keep it in their files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

PAIRS = (("mean", "std"), ("new_mean", "new_std"), ("mu", "sigma"))
"""What such layers call their two buffers: advertorch's, the library ``robustness``', others'."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation that torchvision's models expect, of pixels from 0 to 1."""


@dataclass(frozen=True)
class Normalization:
    """``(pixels - mean) / std`` in front of a network.

    Attributes:
        mean: By channel, of pixels from 0 to 1.
        std: By channel, likewise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def is_usual(self) -> bool:
        """Whether it is torchvision's, up to rounding."""
        pairs = zip((*self.mean, *self.std), (*IMAGENET[0], *IMAGENET[1]), strict=False)
        return len(self.mean) == 3 and all(math.isclose(a, b, abs_tol=1e-3) for a, b in pairs)

    def __str__(self) -> str:
        if self.is_usual:
            return "as usual on ImageNet"
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return f"by mean ({mean}) and std ({std}), not as usual on ImageNet"


def find_normalizations(
    state: Mapping[str, Tensor],
) -> tuple[frozenset[str], tuple[Normalization, ...]]:
    """The buffers of normalising layers in a state dict.

    Args:
        state: Tensors by name.

    Returns:
        Their names, and what they say; two that say the same (of a model and of its attacker)
        count once. Those of pixels up to 255 are brought to pixels up to 1.
    """
    names: set[str] = set()
    found: dict[Normalization, None] = {}
    for name, mean in state.items():
        parent, dot, leaf = name.rpartition(".")
        partner = next((f"{parent}{dot}{std}" for mean_, std in PAIRS if leaf == mean_), None)
        std = None if partner is None else state.get(partner)
        if partner is None or std is None or not (_by_channel(mean) and _by_channel(std)):
            continue
        names |= {name, partner}
        means, stds = ([float(v) for v in t.flatten()] for t in (mean, std))
        most = 255 if max(*means, *stds) > 1 else 1
        found[Normalization(tuple(v / most for v in means), tuple(v / most for v in stds))] = None
    return frozenset(names), tuple(found)


def _by_channel(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() in (1, 3)
