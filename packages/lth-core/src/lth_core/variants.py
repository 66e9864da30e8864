"""Masks derived from another mask: the controls beside a ticket (paper A, Fig. 8; paper B)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from lth_core.allocation import share_out
from lth_core.errors import ConfigError, MaskError
from lth_core.masks import MaskSet
from lth_core.randomness import borrowed, draw_seed
from lth_core.scope import describe_misfit, find_prefixes, join_some, network_order

Generator = torch.Generator


def complement(masks: MaskSet) -> MaskSet:
    """Keeps exactly what ``masks`` prunes (paper A: m^c). Its density is 1 minus that of masks."""
    return ~masks


def random(
    masks: MaskSet,
    match: Literal["global", "layer"] = "global",
    generator: Generator | None = None,
    among: MaskSet | None = None,
) -> MaskSet:
    """As many weights as ``masks`` keeps, chosen at random.

    Args:
        masks: The mask to match.
        match: ``"global"``: uniform over all weights in scope, so that only the total matches
            (paper A's random pruning); ``"layer"``: every layer keeps its own count.
        generator: Source of randomness; torch's default one if None.
        among: The weights to choose from, all in scope if None. With :func:`nonzero` of the
            trained dense network this is the random control of paper B on CIFAR-10, where most
            weights come to zero by training alone and would make random masks look bad.

    Returns:
        Masks with exactly the same ``kept`` (and, with ``"layer"``, per layer).

    Raises:
        ConfigError: If ``match`` is neither.
        MaskError: If there are fewer weights to choose from than to keep, or ``among`` is of
            another model.
    """
    if match not in ("global", "layer"):
        raise ConfigError(f"variants.random: match is {match!r}; use 'global' or 'layer'")
    if among is not None:
        return _random_among(masks, among, match, generator)
    if match == "layer":
        return shuffle(masks, generator=generator)
    return _split(_permute(_flat(masks), generator), masks)


def nonzero(
    weights: Mapping[str, Tensor], masks: MaskSet, threshold: float | None = None
) -> MaskSet:
    """The weights that training has not brought to zero by itself (paper B, Figs. 6 and 10).

    Args:
        weights: Of the trained dense network, by the masks' names, with a prefix or without.
        masks: Names and shapes in scope; what they keep does not matter.
        threshold: Magnitudes up to this count as zero; the machine epsilon of each weight's dtype
            if None (the paper's "machine precision").

    Raises:
        MaskError: If the masks do not fit the weights.
    """
    prefixes = find_prefixes(masks, weights)
    if not prefixes:
        raise MaskError(f"nonzero: the masks do not fit: {describe_misfit(masks, weights)}")
    found = {}
    for name, mask in masks.items():
        weight = weights[prefixes[0] + name].detach()
        bound = torch.finfo(weight.dtype).eps if threshold is None else threshold
        found[name] = (weight.abs() > bound).to(mask.device)
    return MaskSet(found)


def perturb(
    masks: MaskSet,
    fraction: float = 0.1,
    generator: Generator | None = None,
    keep_density: bool = False,
) -> MaskSet:
    """Flips ``fraction`` of the ones and ``fraction`` of the zeros (paper A: m + Δm).

    Density is *not* kept: at 1.8 % remaining, 10 % of flips leave 11.4 %. With ``keep_density`` as
    many zeros are flipped as ones: that share of the mask moves elsewhere.

    Args:
        masks: The mask to perturb.
        fraction: Share of entries to flip, of each kind, counted over all layers and rounded half
            to even; in [0, 1].
        generator: Source of randomness; torch's default one if None.
        keep_density: Whether ``fraction`` of the ones move to positions of zeros. Where there are
            fewer zeros than that, all of them are filled and no more ones move.

    Raises:
        ConfigError: If ``fraction`` is out of range.
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"variants.perturb: fraction is {fraction}; it must lie between 0 and 1")
    flat = _flat(masks)
    flipped = flat.clone()
    ones, zeros = masks.kept, masks.total - masks.kept
    moved = min(round(fraction * ones), zeros)
    for value, count in ((True, ones), (False, zeros)):
        flips = moved if keep_density else round(fraction * count)
        flipped[_draw(flat == value, flips, generator)] = not value
    return _split(flipped, masks)


def shuffle(
    masks: MaskSet,
    unit: Literal["weight", "kernel"] = "weight",
    generator: Generator | None = None,
) -> MaskSet:
    """The mask's entries in another order within each layer.

    Args:
        masks: The mask to shuffle.
        unit: What changes places: ``"weight"``, every entry on its own, which leaves nothing of the
            mask but the layers' counts (Frankle et al.: Pruning neural networks at initialization,
            ICLR 2021; the same distribution as ``random(match="layer")``); or ``"kernel"``, the
            entries of one input and output channel as a whole, which leaves the patterns inside
            kernels and the number of kernels that are all zero (paper A, Figs. 6 and 7).
        generator: Source of randomness; torch's default one if None.

    Raises:
        ConfigError: If ``unit`` is neither.
    """
    if unit not in ("weight", "kernel"):
        raise ConfigError(f"variants.shuffle: unit is {unit!r}; use 'weight' or 'kernel'")
    shuffled = {}
    for name, mask in masks.items():
        width = mask[0, 0].numel() if unit == "kernel" and mask.dim() > 2 and mask.numel() else 1
        units = mask.reshape(-1, width).cpu()
        shuffled[name] = _permute(units, generator).reshape(mask.shape)
    return MaskSet(shuffled)


def even(masks: MaskSet, generator: Generator | None = None) -> MaskSet:
    """As many weights as ``masks`` keeps, at random and with the same density in every layer.

    The layers' counts are rounded by largest remainder, so that the total is exact.

    Args:
        masks: The mask whose total to match.
        generator: Source of randomness; torch's default one if None.
    """
    sizes = {name: mask.numel() for name, mask in masks.items()}
    chosen = {}
    for name, count in share_out(masks.kept, sizes, sizes).items():
        flat = torch.zeros(sizes[name], dtype=torch.bool)
        flat[torch.randperm(sizes[name], generator=generator)[:count]] = True
        chosen[name] = flat.reshape(masks[name].shape)
    return MaskSet(chosen)


def up_to(masks: MaskSet, last: str | int) -> MaskSet:
    """The same mask from the input up to some depth, everything kept beyond (paper B, Fig. 4).

    Args:
        masks: The mask of the whole network.
        last: Where pruning ends, that layer or part included: a weight's name
            (``"features.6.weight"``), that of a part (``"layer2"``, ``"layer2.0"``), or how many
            weights, counted from the input in :func:`lth_core.analysis.network_order`.

    Raises:
        MaskError: If nothing is called so, or there are fewer weights than that.
    """
    order = network_order(masks)
    if isinstance(last, int):
        if not 1 <= last <= len(order):
            raise MaskError(f"up_to: last is {last}; the masks have {len(order)} weights")
        pruned = set(order[:last])
    else:
        named = [place for place, name in enumerate(order) if f"{name}.".startswith(f"{last}.")]
        if not named:
            raise MaskError(
                f"up_to: no masked weight is called {last!r} or lies in a part of that name; "
                f"there are {join_some(order)}"
            )
        pruned = set(order[: named[-1] + 1])
    return MaskSet({n: mask if n in pruned else torch.ones_like(mask) for n, mask in masks.items()})


def reinit(
    masks: MaskSet,
    build: Callable[[], nn.Module | Mapping[str, Tensor]],
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """Fresh random weights under the same mask (paper B: Random Reinit).

    Args:
        masks: The mask, whose names must be found in what ``build`` gives.
        build: Makes the model as its constructors and initialisers do, or its state dict: the
            distributions are the model's own. For example ``lambda: torchvision.models.resnet50()``
            or, with OpenMMLab, a function that builds the model and calls its ``init_weights``.
        generator: Source of randomness; torch's default one if None. Torch's own random streams
            are put back to where they were, but for the one seed that is drawn where None is given.

    Returns:
        The fresh state dict, all of it, with the pruned weights at zero.

    Raises:
        MaskError: If the masks do not fit what was built.
    """
    # Without a generator, too, each call has to give other weights: so a seed is always drawn.
    seed = draw_seed(generator or torch.default_generator)
    with borrowed(seed):
        made = build()
    state = made.state_dict() if isinstance(made, nn.Module) else dict(made)
    state = {name: tensor.detach().clone() for name, tensor in state.items()}
    prefixes = find_prefixes(masks, state)
    if not prefixes:
        raise MaskError(f"reinit: the masks do not fit: {describe_misfit(masks, state)}")
    for prefix in prefixes:  # twins follow the mask
        for name, mask in masks.items():
            weight = state[prefix + name]
            weight.masked_fill_(~mask.to(weight.device), 0)
    return state


def _random_among(
    masks: MaskSet, among: MaskSet, match: str, generator: Generator | None
) -> MaskSet:
    masks & among  # raises if they are not alike
    if match == "layer":
        return MaskSet(
            {
                n: _choose(among[n], int(mask.count_nonzero()), generator, n)
                for n, mask in masks.items()
            }
        )
    return _split(_choose(_flat(among), masks.kept, generator, "the model"), masks)


def _choose(among: Tensor, count: int, generator: Generator | None, where: str) -> Tensor:
    """A mask of the shape of ``among`` that keeps ``count`` of the entries kept there."""
    flat = among.reshape(-1).cpu()
    available = int(flat.count_nonzero())
    if count > available:
        raise MaskError(
            f"variants.random: {where} is to keep {count} weights, but only {available} may be "
            "chosen; match the total instead (match='global') or use sparser masks"
        )
    chosen = torch.zeros_like(flat)
    chosen[_draw(flat, count, generator)] = True
    return chosen.reshape(among.shape)


def _draw(flat: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Positions of ``count`` of the ones in ``flat``, without repetition."""
    positions = flat.nonzero().reshape(-1)
    return positions[torch.randperm(positions.numel(), generator=generator)[:count]]


def _permute(units: Tensor, generator: Generator | None) -> Tensor:
    """The rows of ``units`` in random order."""
    return units[torch.randperm(units.shape[0], generator=generator)]


def _flat(masks: MaskSet) -> Tensor:
    if not masks:
        return torch.zeros(0, dtype=torch.bool)
    return torch.cat([mask.reshape(-1).cpu() for mask in masks.values()])


def _split(flat: Tensor, like: MaskSet) -> MaskSet:
    parts = flat.split([mask.numel() for mask in like.values()])
    return MaskSet(
        {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}
    )
