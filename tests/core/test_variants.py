from __future__ import annotations

import lth_core as lth
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core import variants
from lth_core.errors import ConfigError, MaskError

from .helpers import Backbone, MoCoLike, mask_sets, positions, random_masks


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


# ---------------------------------------------------------------------------------------------
# Random among the weights that training left


@given(mask_sets(2), st.integers(0, 2**32), st.sampled_from(["global", "layer"]))
def test_random_among_stays_among(sets, seed, match):
    masks, other = sets
    among = masks | other  # as large as the mask at least, in every layer
    drawn = variants.random(masks, match, seeded(seed), among)
    assert drawn.issubset(among)
    assert drawn.kept == masks.kept
    if match == "layer":
        assert per_layer(drawn) == per_layer(masks)
    assert variants.random(masks, match, seeded(seed), among) == drawn


@pytest.mark.parametrize("match", ["global", "layer"])
def test_random_among_is_uniform(match):
    masks = lth.MaskSet({"a": torch.arange(24).reshape(4, 6) < 6})
    among = lth.MaskSet({"a": torch.arange(24).reshape(4, 6) % 2 == 0})
    generator = seeded(0)
    hits = sum(variants.random(masks, match, generator, among)["a"].int() for _ in range(400))
    # 6 of 12: Binomial(400, 1/2), mean 200, deviation 10.
    assert hits[among["a"]].min() > 200 - 45
    assert hits[among["a"]].max() < 200 + 45
    assert hits[~among["a"]].sum() == 0


def test_random_among_too_few_is_refused():
    masks = lth.MaskSet({"a": torch.arange(6) < 4, "b": torch.arange(6) < 1})
    among = lth.MaskSet({"a": torch.arange(6) < 3, "b": torch.arange(6) < 6})
    assert variants.random(masks, "global", seeded(0), among).kept == 5
    with pytest.raises(MaskError, match="a is to keep 4 weights, but only 3"):
        variants.random(masks, "layer", seeded(0), among)
    with pytest.raises(MaskError, match="the model is to keep 5 weights, but only 0"):
        variants.random(masks, "global", seeded(0), ~(among | ~among))
    with pytest.raises(MaskError, match="in only one of the two"):
        variants.random(masks, "global", seeded(0), among.with_prefix("x."))


def test_nonzero_counts_up_to_the_machine_epsilon_as_zero():
    """As paper B counts on CIFAR-10, where most weights die in training."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        eps = torch.finfo(dtype).eps
        weight = torch.tensor([0.0, -0.0, eps, -eps, 2 * eps, -2 * eps, 1.0, eps / 2], dtype=dtype)
        masks = lth.MaskSet({"w": torch.zeros(8, dtype=torch.bool)})
        alive = variants.nonzero({"backbone.w": weight}, masks)
        assert alive["w"].tolist() == [False] * 4 + [True] * 3 + [False]
        assert variants.nonzero({"w": weight}, masks, threshold=0)["w"].sum() == 6
        assert variants.nonzero({"w": weight}, masks, threshold=0.5)["w"].sum() == 1
    with pytest.raises(MaskError, match="do not fit: w is missing"):
        variants.nonzero({"v": weight}, masks)


# ---------------------------------------------------------------------------------------------
# Perturbed at equal density


@given(mask_sets(), st.floats(0, 1), st.integers(0, 2**32))
def test_perturb_at_equal_density_moves_as_many_in_as_out(sets, fraction, seed):
    (masks,) = sets
    result = variants.perturb(masks, fraction, seeded(seed), keep_density=True)
    assert layout(result) == layout(masks)
    assert result.kept == masks.kept
    moved = min(round(fraction * masks.kept), masks.total - masks.kept)
    assert len(positions(masks) - positions(result)) == moved
    assert len(positions(result) - positions(masks)) == moved
    assert variants.perturb(masks, fraction, seeded(seed), keep_density=True) == result


# ---------------------------------------------------------------------------------------------
# Shuffled within layers


@given(mask_sets(), st.integers(0, 2**32), st.sampled_from(["weight", "kernel"]))
def test_shuffle_keeps_the_layers_counts(sets, seed, unit):
    (masks,) = sets
    before = masks.digest()
    result = variants.shuffle(masks, unit, seeded(seed))
    assert layout(result) == layout(masks)
    assert per_layer(result) == per_layer(masks)
    assert variants.shuffle(masks, unit, seeded(seed)) == result
    assert masks.digest() == before


def kernels(mask: torch.Tensor) -> list[tuple[bool, ...]]:
    return [tuple(kernel.flatten().tolist()) for row in mask for kernel in row]


def test_shuffled_kernels_stay_whole():
    masks = random_masks(Backbone(8), 0.1)
    whole = variants.shuffle(masks, "kernel", seeded(0))
    apart = variants.shuffle(masks, "weight", seeded(0))
    for name, mask in masks.items():
        assert not torch.equal(whole[name], mask)
        assert sorted(kernels(whole[name])) == sorted(kernels(mask))
        assert sorted(kernels(apart[name])) != sorted(kernels(mask))


def test_shuffle_moves_every_entry_everywhere():
    masks = lth.MaskSet({"a": torch.arange(24).reshape(2, 3, 2, 2) < 4})
    generator = seeded(0)
    for unit, kernel in (("weight", 1), ("kernel", 4)):
        hits = sum(variants.shuffle(masks, unit, generator)["a"].int() for _ in range(600))
        assert hits.sum() == 2400
        # Binomial(600, 1/6): mean 100, deviation 9.1.
        assert hits.min() > 100 - 42
        assert hits.max() < 100 + 42
        assert len(hits.unique()) <= 24 // kernel


# ---------------------------------------------------------------------------------------------
# Evenly spread


@given(mask_sets(), st.integers(0, 2**32))
def test_even_has_one_density_everywhere_and_the_exact_total(sets, seed):
    (masks,) = sets
    result = variants.even(masks, seeded(seed))
    assert layout(result) == layout(masks)
    assert result.kept == masks.kept
    for mask in result.values():
        assert abs(int(mask.sum()) - masks.kept * mask.numel() / max(masks.total, 1)) < 1
    assert variants.even(masks, seeded(seed)) == result


def test_even_spreads_what_was_in_one_layer():
    full, empty = torch.ones(10, 10, dtype=torch.bool), torch.zeros(3, 100, dtype=torch.bool)
    masks = lth.MaskSet({"a": full, "b": empty})
    assert per_layer(variants.even(masks)) == {"a": 25, "b": 75}
    generator = seeded(0)
    hits = sum(variants.even(masks, generator)["a"].int() for _ in range(400))
    # Binomial(400, 1/4): mean 100, deviation 8.7.
    assert hits.min() > 100 - 42
    assert hits.max() < 100 + 42


# ---------------------------------------------------------------------------------------------
# Fresh weights under the mask


def test_reinit_is_what_the_model_itself_makes_under_the_mask():
    masks = random_masks(Backbone(8))
    state = variants.reinit(masks, lambda: Backbone(8), seeded(3))
    torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(3))))
    expected = Backbone(8).state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        if name in masks:
            tensor = tensor * masks[name]
            assert bool((state[name][masks[name]] != 0).all())
        assert torch.equal(state[name], tensor)
    Backbone(8).load_state_dict(state)


def test_reinit_is_decided_by_the_generator_alone():
    masks = random_masks(Backbone(8))

    def drawn(seed, own):
        torch.manual_seed(own)
        before = torch.get_rng_state()
        state = variants.reinit(masks, lambda: Backbone(8), seeded(seed))
        assert torch.equal(torch.get_rng_state(), before)
        return state["layer1.0.conv1.weight"]

    assert torch.equal(drawn(1, 0), drawn(1, 7))
    assert not torch.equal(drawn(1, 0), drawn(2, 0))


def test_reinit_without_a_generator_follows_torchs_seed_and_differs_from_call_to_call():
    masks = random_masks(Backbone(8))
    drawn = []
    for seed in (0, None, 0):
        if seed is not None:
            torch.manual_seed(seed)
        drawn.append(variants.reinit(masks, lambda: Backbone(8))["layer1.0.conv1.weight"])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_reinit_masks_backbones_in_models_and_their_twins_and_takes_state_dicts():
    masks = random_masks(Backbone())
    state = variants.reinit(masks, MoCoLike, seeded(0))
    for prefix in ("encoder_q.", "encoder_k."):
        for name, mask in masks.items():
            assert torch.equal(state[prefix + name] != 0, mask)
    made = Backbone()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    variants.reinit(masks, made.state_dict)
    assert all(torch.equal(tensor, before[n]) for n, tensor in made.state_dict().items())
    with pytest.raises(MaskError, match=r"layer1\.0\.conv1\.weight is \(8, 8, 3, 3\)"):
        variants.reinit(masks, lambda: Backbone(8))


# ---------------------------------------------------------------------------------------------
# All of them

VARIANTS = {
    "random": lambda m, g: variants.random(m, "global", g),
    "layer": lambda m, g: variants.random(m, "layer", g),
    "among": lambda m, g: variants.random(m, "global", g, m | ~m),
    "perturb": lambda m, g: variants.perturb(m, 0.2, g),
    "moved": lambda m, g: variants.perturb(m, 0.2, g, keep_density=True),
    "shuffle": lambda m, g: variants.shuffle(m, "weight", g),
    "kernels": lambda m, g: variants.shuffle(m, "kernel", g),
    "even": lambda m, g: variants.even(m, g),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_memory_format_and_torchs_own_generator_do_not_matter(name):
    masks = random_masks(Backbone(8), 0.3)
    other = masks.map(lambda mask: mask.contiguous(memory_format=torch.channels_last))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    expected = VARIANTS[name](masks, seeded(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert VARIANTS[name](other, seeded(0)) == expected
    assert VARIANTS[name](masks, seeded(1)) != expected


@pytest.mark.parametrize("name", VARIANTS)
def test_no_masks_and_empty_masks(name):
    nothing = lth.MaskSet({})
    assert VARIANTS[name](nothing, seeded(0)) == nothing
    empty = lth.MaskSet({"a": torch.zeros(0, 3, 2, 2, dtype=torch.bool)})
    assert VARIANTS[name](empty, seeded(0)) == empty


def test_a_wrong_unit_is_refused():
    with pytest.raises(ConfigError, match="unit is 'filter'; use 'weight' or 'kernel'"):
        variants.shuffle(random_masks(Backbone()), unit="filter")
