from __future__ import annotations

import itertools
from fractions import Fraction

import lth_core as lth
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core.allocation import AsIn, get_allocation, share_out
from lth_core.errors import ConfigError, MaskError

from .helpers import Backbone, mask_sets, positions, random_masks

NAMES = ["global", "uniform", "erk"]


def counts(masks: lth.MaskSet) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def weights_like(masks: lth.MaskSet, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(mask.shape, generator=generator) for name, mask in masks.items()}


def full(**shapes: tuple[int, ...]) -> lth.MaskSet:
    return lth.MaskSet({n: torch.ones(shape, dtype=torch.bool) for n, shape in shapes.items()})


# ---------------------------------------------------------------------------------------------
# All of them


@pytest.mark.parametrize("how", NAMES)
@given(sets=mask_sets(), amounts=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_counts_are_exact_and_rounds_nest(how, sets, amounts):
    (masks,) = sets
    for amount in amounts:
        after = lth.prune(weights_like(masks), masks, amount, allocation=how)
        assert after.kept == masks.kept - round(amount * masks.kept)
        assert positions(after) <= positions(masks)
        masks = after


@pytest.mark.parametrize("how", NAMES)
@given(sets=mask_sets(), amount=st.floats(0, 1))
def test_the_lowest_of_each_layer_go(how, sets, amount):
    """Whatever the counts, within a layer no weight that stays is smaller than one that goes."""
    (masks,) = sets
    weights = weights_like(masks)
    after = lth.prune(weights, masks, amount, allocation=how)
    for name, mask in masks.items():
        gone = weights[name].abs()[mask & ~after[name]]
        stays = weights[name].abs()[after[name]]
        assert not gone.numel() or not stays.numel() or gone.max() < stays.min()


def test_a_function_is_used_as_it_is():
    def first_only(masks, amount):
        return [([next(iter(masks))], 2)]

    masks = full(a=(3,), b=(3,))
    assert counts(lth.prune(weights_like(masks), masks, 0.5, allocation=first_only)) == {
        "a": 1,
        "b": 3,
    }


def test_what_is_no_allocation_is_refused():
    for wrong in ("erdos", 3, None):
        with pytest.raises(ConfigError, match="choose from erk, global, uniform"):
            get_allocation(wrong)


# ---------------------------------------------------------------------------------------------
# Sharing out


@st.composite
def shares(draw):
    names = draw(st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True))
    weights = {name: draw(st.integers(1, 20)) for name in names}
    caps = {name: draw(st.integers(0, 12)) for name in names}
    return draw(st.integers(0, sum(caps.values()))), weights, caps


@given(shares())
def test_shares_add_up_and_keep_below_their_caps(problem):
    total, weights, caps = problem
    found = share_out(total, weights, caps)
    assert list(found) == list(caps)
    assert sum(found.values()) == total
    assert all(0 <= found[name] <= caps[name] for name in caps)


@given(shares())
def test_shares_are_those_of_a_rising_water_level(problem):
    """min(cap, level · weight), with the level found by bisection instead of rounds of capping."""
    total, weights, caps = problem
    low, high = Fraction(0), Fraction(13)
    for _ in range(60):
        middle = (low + high) / 2
        if sum(min(Fraction(caps[n]), middle * weights[n]) for n in caps) < total:
            low = middle
        else:
            high = middle
    found = share_out(total, weights, caps)
    for name in caps:
        assert abs(found[name] - min(Fraction(caps[name]), high * weights[name])) < 1 + 1e-9


def test_remainders_go_to_the_largest_and_then_to_the_first():
    thirds = {"a": 1, "b": 1, "c": 1}
    assert share_out(10, thirds, dict.fromkeys(thirds, 10)) == {"a": 4, "b": 3, "c": 3}
    # Shares of 7 are 0.7, 2.1 and 4.2.
    assert share_out(7, {"a": 1, "b": 3, "c": 6}, dict.fromkeys(thirds, 10)) == {
        "a": 1,
        "b": 2,
        "c": 4,
    }


# ---------------------------------------------------------------------------------------------
# Uniform


@given(sets=mask_sets(), amount=st.floats(0, 1))
def test_uniform_takes_the_same_fraction_of_each_layer(sets, amount):
    (masks,) = sets
    removed = round(amount * masks.kept)
    after = counts(lth.prune(weights_like(masks), masks, amount, allocation="uniform"))
    for name, before in counts(masks).items():
        assert abs(before - after[name] - removed * before / max(masks.kept, 1)) < 1


def test_uniform_in_numbers():
    """3 layers of 5 lose half of 15, that is 8: rounding each would have made it 6."""
    masks = full(a=(5,), b=(5,), c=(5,))
    after = lth.prune(weights_like(masks), masks, 0.5, allocation="uniform")
    assert counts(after) == {"a": 2, "b": 2, "c": 3}


# ---------------------------------------------------------------------------------------------
# ERK


def rigl_densities(shapes, density):
    """The densities as the paper's authors compute them: dense layers are set apart, repeatedly."""
    dense: set[str] = set()
    while True:
        wanted = free = 0.0
        raw = {}
        for name, shape in shapes.items():
            size = torch.Size(shape).numel()
            if name in dense:
                wanted -= size * (1 - density)
            else:
                wanted += size * density
                raw[name] = sum(shape) / size
                free += raw[name] * size
        epsilon = wanted / free
        worst = max(raw.values())
        if worst * epsilon <= 1:
            break
        dense |= {name for name, value in raw.items() if value == worst}
    return {name: 1.0 if name in dense else epsilon * raw[name] for name in shapes}


SHAPES = {
    "layer1": (16, 16, 3, 3),
    "layer2": (64, 16, 1, 1),
    "layer3": (64, 64, 3, 3),
    "layer4": (128, 64, 3, 3),
    "linear": (10, 128),
    "stem": (16, 3, 7, 7),
}


@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.8, 0.95, 0.99])
def test_erk_densities_are_the_papers(sparsity):
    masks = full(**SHAPES)
    after = lth.prune(weights_like(masks), masks, sparsity, allocation="erk")
    assert after.kept == masks.total - round(sparsity * masks.total)
    expected = rigl_densities(SHAPES, 1 - sparsity)
    for name, mask in after.items():
        # One weight for rounding here, and half a one for the rounding of the total.
        assert int(mask.sum()) == pytest.approx(expected[name] * mask.numel(), abs=1.5)


def test_erk_keeps_layers_dense_that_do_not_fit():
    masks = full(**SHAPES)
    after = lth.prune(weights_like(masks), masks, 0.5, allocation="erk").layer_sparsity()
    dense = {name for name, density in rigl_densities(SHAPES, 0.5).items() if density == 1}
    assert dense
    assert {name for name, sparsity in after.items() if sparsity == 0} == dense


def test_erk_in_rounds_ends_where_one_prune_does():
    """Nothing but rounding may differ, as long as no layer falls below its later share."""
    masks = full(**SHAPES)
    weights = weights_like(masks)
    rounds = masks
    for _ in range(8):
        after = lth.prune(weights, rounds, 0.2, allocation="erk")
        assert after.issubset(rounds)
        rounds = after
    at_once = lth.prune(weights, masks, 1 - rounds.kept / masks.total, allocation="erk")
    assert at_once.kept == rounds.kept
    for name, count in counts(rounds).items():
        assert abs(count - counts(at_once)[name]) <= 1


def test_erk_never_brings_a_weight_back():
    """A layer far below its share keeps what it has, and the others make up for it."""
    masks = lth.MaskSet(
        {
            "a": torch.arange(400).reshape(20, 20) < 5,
            "b": torch.ones(20, 20, dtype=torch.bool),
            "c": torch.ones(20, 20, dtype=torch.bool),
        }
    )
    after = lth.prune(weights_like(masks), masks, 0.5, allocation="erk")
    # 805 are kept, round(402.5) = 402 go, 403 stay: 5 of a, 398 in equal parts of b and c.
    assert counts(after) == {"a": 5, "b": 199, "c": 199}


def test_erk_of_scalars_and_empty_weights():
    masks = full(scalar=(), empty=(0,), vector=(4,))
    for amount in (0, 0.2, 0.5, 1):
        after = lth.prune(weights_like(masks), masks, amount, allocation="erk")
        assert after.kept == 5 - round(5 * amount)


# ---------------------------------------------------------------------------------------------
# As in a mask


@given(mask_sets(2))
def test_as_in_gives_every_layer_the_others_count(sets):
    masks, other = sets
    target = masks & other
    after = lth.prune(weights_like(masks), masks, allocation=AsIn(target))
    assert counts(after) == counts(target)
    assert positions(after) <= positions(masks)


def test_as_in_ranks_within_layers_and_ignores_the_amount():
    model = Backbone(8)
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    target = lth.prune(model, masks, 0.7)
    for amount, how in itertools.product((0.1, 0.9), ("magnitude", "random")):
        after = lth.prune(model, masks, amount, how, lth.allocation.AsIn(target))
        assert counts(after) == counts(target)
        if how == "magnitude":
            assert after == target


def test_as_in_does_not_bring_weights_back():
    model = Backbone(8)
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    sparse = lth.prune(model, masks, 0.7)
    with pytest.raises(MaskError, match=r"layer1\.0\.conv1\.weight keeps \d+, not 576.*no weight"):
        lth.prune(model, sparse, allocation=AsIn(masks))


def test_as_in_refuses_masks_of_another_model():
    for other in (Backbone(4), Backbone(8)):
        model, stem = Backbone(8), other.conv1.out_channels == 8
        with pytest.raises(MaskError, match="of another model"):
            lth.prune(
                model,
                lth.MaskSet.ones(model, lth.prunable(model)),
                allocation=AsIn(random_masks(other, stem=stem)),
            )
