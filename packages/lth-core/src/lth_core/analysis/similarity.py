"""How alike masks are, beside what independent masks of the same densities would show.

Paper A (section 5, Fig. 6) measures the kept weights' intersection over union. That number falls
with density for any two masks, so each measure here comes with the value that chance alone gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lth_core.errors import MaskError
from lth_core.masks import MaskSet
from lth_core.scope import printable


@dataclass(frozen=True)
class Similarity:
    """Of two masks of the same weights.

    Attributes:
        iou: Kept in both over kept in either (paper A's measure); 1 if neither keeps any.
        overlap: Kept in both over the smaller number kept; 1 if that is none.
        hamming: Fraction of all weights on which the two disagree.
    """

    iou: float
    overlap: float
    hamming: float


def similarity(one: MaskSet, other: MaskSet) -> Similarity:
    """Compares two masks.

    Raises:
        MaskError: If they are not of the same weights.
    """
    require_one_scope(one, other)
    return _measures((one & other).kept, one.kept, other.kept, one.total)


def expected_by_chance(one: MaskSet, other: MaskSet, match: str = "global") -> Similarity:
    """What two independent random masks of these densities would show.

    The expected number kept in both takes the place of the number itself, which for masks of more
    than a few hundred weights is what the expectation of each measure comes to.

    Args:
        one: A mask.
        other: Another of the same weights.
        match: ``"global"``: of one density everywhere; ``"layer"``: of each layer's own density,
            for global pruning gives any two masks the same kind of profile.

    Raises:
        MaskError: If they are not of the same weights, or ``match`` is unknown.
    """
    require_one_scope(one, other)
    if match == "global":
        both = one.kept * other.kept / one.total if one.total else 0.0
    elif match == "layer":
        both = sum(
            int(mask.count_nonzero()) * int(other[name].count_nonzero()) / mask.numel()
            for name, mask in one.items()
            if mask.numel()
        )
    else:
        raise MaskError(f"expected_by_chance: match is {match!r}; use 'global' or 'layer'")
    return _measures(both, one.kept, other.kept, one.total)


def similarity_matrix(masks: Sequence[MaskSet]) -> list[list[Similarity]]:
    """Every mask with every other, and with itself.

    Raises:
        MaskError: If they are not of the same weights.
    """
    matrix = [[_SAME for _ in masks] for _ in masks]
    for (i, one), (j, other) in itertools.combinations(enumerate(masks), 2):
        matrix[i][j] = matrix[j][i] = similarity(one, other)
    return matrix


def similarity_curves(
    chains: Mapping[str, Sequence[MaskSet]],
) -> dict[tuple[str, str], list[tuple[float, Similarity, Similarity]]]:
    """Pairs of chains, level by level (paper A, Fig. 6, top).

    Args:
        chains: Masks of levels 0, 1, ... by the chain's name.

    Returns:
        For each pair of names, per level that both have: sparsity of the first, their similarity,
        and that of independent masks with the same densities of layers.

    Raises:
        MaskError: If they are not of the same weights.
    """
    return {
        (one, other): [
            (a.sparsity, similarity(a, b), expected_by_chance(a, b, match="layer"))
            for a, b in zip(chains[one], chains[other], strict=False)
        ]
        for one, other in itertools.combinations(chains, 2)
    }


def require_one_scope(
    one: MaskSet, other: MaskSet, names: tuple[str, str] = ("one mask", "the other")
) -> None:
    """Only masks of the same weights can be compared.

    Args:
        one: A mask.
        other: Another.
        names: What to call them in an error.

    Raises:
        MaskError: Naming the first differences.
    """
    problems = [f"only {names[0]} has {printable(name)}" for name in one if name not in other]
    problems += [f"only {names[1]} has {printable(name)}" for name in other if name not in one]
    for name in sorted(one.keys() & other.keys()):
        if one[name].shape != other[name].shape:
            shapes = tuple(one[name].shape), tuple(other[name].shape)
            problems.append(f"{printable(name)} is {shapes[0]} and {shapes[1]}")
    if problems:
        some = "; ".join(problems[:3]) + "; ..." * (len(problems) > 3)
        raise MaskError(
            f"{names[0]} and {names[1]} cannot be compared, their scopes differ: {some}; "
            "compare tickets of one architecture, pruned with or without the stem alike"
        )


_SAME = Similarity(iou=1.0, overlap=1.0, hamming=0.0)


def _measures(both: float, one: int, other: int, total: int) -> Similarity:
    either, smaller = one + other - both, min(one, other)
    return Similarity(
        iou=both / either if either else 1.0,
        overlap=both / smaller if smaller else 1.0,
        hamming=(either - both) / total if total else 0.0,
    )
