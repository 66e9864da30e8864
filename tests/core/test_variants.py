from __future__ import annotations

import lth_core as lth
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core import variants
from lth_core.errors import ConfigError

from .helpers import Backbone, mask_sets, positions, random_masks


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def per_layer(masks: lth.MaskSet) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def layout(masks: lth.MaskSet) -> dict[str, tuple[int, ...]]:
    return {name: tuple(mask.shape) for name, mask in masks.items()}


@given(mask_sets())
def test_complement_shares_nothing_and_leaves_nothing(sets):
    (masks,) = sets
    other = variants.complement(masks)
    assert not positions(other) & positions(masks)
    assert other.kept == masks.total - masks.kept
    assert len(positions(other) | positions(masks)) == masks.total
    assert variants.complement(other) == masks


@given(mask_sets(), st.integers(0, 2**32), st.sampled_from(["global", "layer"]))
def test_random_keeps_the_counts_and_the_layout(sets, seed, match):
    (masks,) = sets
    before = masks.digest()
    drawn = variants.random(masks, match=match, generator=seeded(seed))
    assert layout(drawn) == layout(masks)
    assert drawn.kept == masks.kept
    if match == "layer":
        assert per_layer(drawn) == per_layer(masks)
    assert variants.random(masks, match=match, generator=seeded(seed)) == drawn
    assert masks.digest() == before


@pytest.mark.parametrize("match", ["global", "layer"])
def test_random_is_another_mask_for_another_seed(match):
    masks = random_masks(Backbone(8), 0.3)
    drawn = [variants.random(masks, match=match, generator=seeded(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert masks not in drawn


def test_random_global_spreads_over_layers_and_layer_does_not():
    full, empty = torch.ones(40, 50, dtype=torch.bool), torch.zeros(40, 150, dtype=torch.bool)
    masks = lth.MaskSet({"a": full, "b": empty})
    spread = per_layer(variants.random(masks, generator=seeded(0)))
    # Hypergeometric: 2000 of 8000 drawn, 2000 of them lie in a; mean 500, deviation 16.8.
    assert abs(spread["a"] - 500) < 85
    assert variants.random(masks, match="layer", generator=seeded(0)) == masks


@pytest.mark.parametrize("match", ["global", "layer"])
def test_random_is_uniform_over_positions(match):
    masks = lth.MaskSet({"a": torch.arange(24).reshape(4, 6) < 6})
    generator = seeded(0)
    hits = sum(variants.random(masks, match, generator)["a"].int() for _ in range(400))
    # Binomial(400, 1/4): mean 100, deviation 8.7.
    assert hits.min() > 100 - 40
    assert hits.max() < 100 + 40


@given(mask_sets(), st.floats(0, 1), st.integers(0, 2**32))
def test_perturb_flips_exactly_so_many_ones_and_zeros(sets, fraction, seed):
    (masks,) = sets
    before = masks.digest()
    result = variants.perturb(masks, fraction, generator=seeded(seed))
    assert layout(result) == layout(masks)
    lost = positions(masks) - positions(result)
    won = positions(result) - positions(masks)
    assert len(lost) == round(fraction * masks.kept)
    assert len(won) == round(fraction * (masks.total - masks.kept))
    assert variants.perturb(masks, fraction, generator=seeded(seed)) == result
    assert masks.digest() == before


def test_perturb_by_ten_percent_leaves_the_density_of_the_protocol_sheet():
    """Paper A: at 1.8 % remaining, flips of 10 % leave 11.4 %."""
    masks = lth.MaskSet({"w": (torch.arange(10_000) < 180).reshape(100, 100)})
    result = variants.perturb(masks, generator=seeded(0))
    assert result.kept == 180 - 18 + 982
    assert 1 - result.sparsity == pytest.approx(0.114, abs=0.0005)


def test_perturb_of_everything_is_the_complement():
    masks = random_masks(Backbone())
    assert variants.perturb(masks, 1.0) == ~masks
    assert variants.perturb(masks, 0.0) == masks


def test_perturb_depends_on_the_seed():
    masks = random_masks(Backbone(8))
    one, other = (variants.perturb(masks, 0.1, generator=seeded(seed)) for seed in (1, 2))
    assert one != other


def test_variants_do_not_touch_torchs_own_generator_when_given_one():
    masks = random_masks(Backbone())
    before = torch.get_rng_state()
    variants.random(masks, generator=seeded(0))
    variants.random(masks, match="layer", generator=seeded(0))
    variants.perturb(masks, generator=seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_settings_are_refused():
    masks = random_masks(Backbone())
    with pytest.raises(ConfigError, match=r"match is 'layers'; use 'global' or 'layer'"):
        variants.random(masks, match="layers")
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            variants.perturb(masks, fraction)
