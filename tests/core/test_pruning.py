from __future__ import annotations

import math
from fractions import Fraction

import lth_core as lth
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core import selection
from lth_core.allocation import _ALLOCATIONS, allocation
from lth_core.errors import ConfigError, MaskError
from lth_core.scores import _CRITERIA, criterion
from torch import nn
from torch.nn.utils import prune as torch_prune

from .helpers import Backbone, MMLike, MoCoLike, golden, positions, random_masks, resnet, state_bits

# ---------------------------------------------------------------------------------------------
# Golden masks


def fixed(n: int, seed: int) -> np.ndarray:
    """The weights of the golden file, as its definition says."""
    i = np.arange(n, dtype=np.uint64) + np.uint64(seed * 1000003)
    h = (i * np.uint64(2654435761)) % np.uint64(2**32)
    h = (h ^ (h >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(2**32)
    return (h.astype(np.float64) / 2**32 - 0.5).astype(np.float32)


@pytest.mark.parametrize("key", sorted(golden()))
def test_golden_masks_bit_for_bit(key):
    entry = golden()[key]
    with torch.device("meta"):
        layout = {name: t.shape for name, t in resnet(entry["arch"]).state_dict().items()}
    names = sorted(layout)
    model = resnet(entry["arch"])
    scope = lth.prunable(model, stem=entry["stem"])
    masks = lth.MaskSet.ones(model, scope)
    assert len(entry["levels"]) >= 3
    for k, level in enumerate(entry["levels"], start=1):
        weights = {}
        for j, name in enumerate(names):
            if name.endswith(".weight") and len(layout[name]) == 4:
                shape = layout[name]
                fan_in = np.float32(math.prod(shape[1:]) ** -0.5)
                values = fixed(math.prod(shape), entry["seed_offset"] + k * 1000 + j) * fan_in
                weights[name] = torch.from_numpy(values).reshape(shape)
        masks = lth.prune(weights, masks, amount=level["amount"])
        kept = {name: int(mask.count_nonzero()) for name, mask in masks.items()}
        assert kept == level["kept_per_layer"]
        assert masks.kept == level["kept"]
        assert masks.total == level["total"]
        assert masks.digest() == level["sha256"]


# ---------------------------------------------------------------------------------------------
# Against a plain Python form


def round_half_even(value: Fraction) -> int:
    whole, rest = divmod(value, 1)
    return int(whole) + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1))


def prune_plainly(weights, masks, amount, per_layer=False):
    """Sorts all kept weights by (magnitude, name, position) and drops the first ones."""
    groups = [[name] for name in sorted(masks)] if per_layer else [sorted(masks)]
    kept = positions(masks)
    # The product in floating point, as torch.nn.utils.prune has it, its rounding exact.
    total = round_half_even(Fraction(amount * len(kept)))
    sizes = [sum(name in group for name, _ in kept) for group in groups]
    # Each group's share, rounded down; then one more for those who lost most by that.
    shares = [Fraction(total * size, max(len(kept), 1)) for size in sizes]
    counts = [math.floor(share) for share in shares]
    while sum(counts) < total:
        lost = [share - count for share, count in zip(shares, counts, strict=True)]
        counts[lost.index(max(lost))] += 1
    for group, count in zip(groups, counts, strict=True):
        ranked = sorted(
            (abs(weights[name].flatten()[index].item()), name, index)
            for name, index in kept
            if name in group
        )
        kept = kept - {(name, index) for _, name, index in ranked[:count]}
    return kept


@st.composite
def problems(draw):
    """Weights with many ties, and masks of them."""
    shapes = draw(
        st.dictionaries(
            st.text("abc", min_size=1, max_size=2),
            st.sampled_from([(1,), (2, 3), (3, 1, 2, 2), (7,), (0,), (5, 2)]),
            min_size=1,
            max_size=4,
        )
    )
    weights, masks = {}, {}
    for name, shape in shapes.items():
        size = math.prod(shape)
        values = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
        weights[name] = torch.tensor(values, dtype=torch.float32).reshape(shape) / 4
        keep = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        masks[name] = torch.tensor(keep, dtype=torch.bool).reshape(shape)
    amount = draw(st.one_of(st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1)))
    return weights, lth.MaskSet(masks), amount


@pytest.mark.parametrize(("sample", "chunk"), [(None, None), (4, 3), (1, 1)])
@given(problem=problems(), how=st.sampled_from(["global", "uniform"]))
def test_prune_is_a_sort_with_ties_by_name_and_position(sample, chunk, problem, how):
    weights, masks, amount = problem
    before = masks.digest()
    with pytest.MonkeyPatch.context() as patch:
        if sample is not None:  # so that few weights go the way of millions
            patch.setattr(selection, "_SAMPLE", sample)
            patch.setattr(selection, "_CHUNK", chunk)
        result = lth.prune(weights, masks, amount, allocation=how)
    assert positions(result) == prune_plainly(weights, masks, amount, how == "uniform")
    assert masks.digest() == before


@pytest.mark.parametrize("amount", [0.01, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("order", ["random", "ascending", "periodic", "few values"])
def test_prune_is_a_sort_of_many_weights(order, amount):
    """A sample of them may mislead, and must not."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200_000, generator=generator)
    if order == "ascending":
        values = values.sort().values
    elif order == "periodic":  # what an even stride sees is not what there is
        values[::2] += 100
        values[::3] += 1000
    elif order == "few values":
        values = values.round()
    weights = {"a": values[:150_000].reshape(150, 1000), "b": values[150_000:]}
    masks = lth.MaskSet(
        {n: torch.rand(w.shape, generator=generator) < 0.7 for n, w in weights.items()}
    )
    kept = torch.cat([mask.flatten() for mask in masks.values()])
    ranked = values.abs().masked_fill(~kept, float("inf")).sort(stable=True).indices
    kept[ranked[: round(amount * masks.kept)]] = False
    result = lth.prune(weights, masks, amount)
    assert torch.equal(torch.cat([mask.flatten() for mask in result.values()]), kept)


@pytest.mark.parametrize(
    ("kept", "amount", "removed"),
    [(10, 0.25, 2), (10, 0.35, 4), (6, 0.25, 2), (2, 0.25, 0), (14, 0.25, 4), (1, 0.5, 0)],
)
def test_halves_round_to_even(kept, amount, removed):
    weights = {"w": torch.arange(1.0, 17.0)}
    masks = lth.MaskSet({"w": torch.arange(16) < kept})
    assert lth.prune(weights, masks, amount).kept == kept - removed


@pytest.mark.parametrize("amount", [0, 0.0, 1, 1.0])
def test_none_and_all(amount):
    model = Backbone()
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    assert lth.prune(model, masks, amount).kept == (0 if amount else masks.total)
    empty = ~masks
    assert lth.prune(model, empty, amount) == empty


def test_ladder_of_the_protocol_sheet():
    """Sparsities that the protocol sheet lists for the common 20 % ladder, in per cent."""
    sheet = [0, 20, 36, 48.80, 59.04, 67.23, 73.79, 79.03, 83.22, 86.58, 89.26, 91.41, 93.13]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(50, 40, 5))
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    for level, expected in enumerate(sheet):
        assert 100 * lth.sparsity_after(level) == pytest.approx(expected, abs=0.005)
        assert 100 * masks.sparsity == pytest.approx(expected, abs=0.01)
        masks = lth.prune(model, masks)


# ---------------------------------------------------------------------------------------------
# Against torch.nn.utils.prune


@pytest.mark.parametrize("amount", [0.2, 0.5, 0.123, 0.999])
def test_equal_to_torchs_global_unstructured_over_three_rounds(amount):
    torch.manual_seed(0)
    model = Backbone(width=16)
    names = sorted(lth.prunable(model, stem=True))
    modules = [model.get_submodule(name.removesuffix(".weight")) for name in names]
    masks = lth.MaskSet.ones(model, names)
    for _ in range(3):
        trained = {name: torch.randn(masks[name].shape) for name in names}
        values = torch.cat([weight.flatten().abs() for weight in trained.values()])
        assert values.unique().numel() == values.numel()  # torch breaks ties in its own way
        masks = lth.prune(trained, masks, amount)
        torch_prune.global_unstructured(
            [(module, "weight") for module in modules],
            torch_prune.L1Unstructured,
            importance_scores={
                (module, "weight"): trained[name]
                for name, module in zip(names, modules, strict=True)
            },
            amount=amount,
        )
        theirs = {n: m.weight_mask != 0 for n, m in zip(names, modules, strict=True)}
        assert masks == lth.MaskSet(theirs)


def test_uniform_is_torchs_l1_unstructured_of_each_layer():
    torch.manual_seed(0)
    model = Backbone(width=8)
    names = lth.prunable(model, stem=True)
    masks = lth.prune(model, lth.MaskSet.ones(model, names), 0.37, allocation="uniform")
    for name in names:
        module = model.get_submodule(name.removesuffix(".weight"))
        torch_prune.l1_unstructured(module, "weight", amount=0.37)
        assert torch.equal(masks[name], module.weight_mask != 0)


# ---------------------------------------------------------------------------------------------
# What a model may look like


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_any_float_dtype(dtype):
    torch.manual_seed(0)
    model = Backbone(width=8).to(dtype)
    masks = random_masks(model, 0.7, stem=True)
    result = lth.prune(model, masks, 0.3)
    # Low precision has many ties; in float64 all of these values are exact.
    weights = {name: model.get_parameter(name).detach().double() for name in masks}
    assert positions(result) == prune_plainly(weights, masks, 0.3)


def test_mixed_dtypes_are_compared_exactly():
    weights = {
        "a": torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
        "b": torch.tensor([1.0 + 2**-40, 0.5], dtype=torch.float64),
        "c": torch.tensor([1.0 - 2**-20, 4.0], dtype=torch.float32),
    }
    ones = lth.MaskSet({n: torch.ones(w.shape, dtype=torch.bool) for n, w in weights.items()})
    # In order: b[1] = 0.5, c[0] < 1, a[0] = 1, b[0] > 1.
    expected = [("b", 1), ("c", 0), ("a", 0), ("b", 0)]
    for count, amount in enumerate([1 / 7, 2 / 7, 3 / 7, 4 / 7], start=1):
        removed = positions(ones) - positions(lth.prune(weights, ones, amount))
        assert removed == set(expected[:count])


@pytest.mark.parametrize("what", ["weights", "masks", "both"])
def test_memory_format_does_not_matter(what):
    torch.manual_seed(0)
    model = Backbone(width=8)
    masks = random_masks(model, 0.7)
    expected = lth.prune(model, masks, 0.3)
    if what != "masks":
        model = model.to(memory_format=torch.channels_last)
        assert not model.layer1[0].conv1.weight.is_contiguous()
    if what != "weights":
        masks = masks.map(lambda mask: mask.contiguous(memory_format=torch.channels_last))
    assert lth.prune(model, masks, 0.3) == expected


def test_order_of_registration_does_not_decide_ties():
    weights = {"b": torch.ones(4), "a": torch.ones(4)}
    ones = lth.MaskSet({n: torch.ones(4, dtype=torch.bool) for n in weights})
    assert positions(lth.prune(weights, ones, 0.75)) == {("b", 2), ("b", 3)}


def test_zeros_outside_the_mask_do_not_count():
    """A trained model under its mask holds zeros; only survivors compete."""
    torch.manual_seed(0)
    model = Backbone(width=8)
    masks = lth.prune(model, lth.MaskSet.ones(model, lth.prunable(model)), 0.5)
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    after = lth.prune(model, masks, 0.5)
    assert after.issubset(masks)
    assert after.kept == masks.kept - round(0.5 * masks.kept)


@pytest.mark.parametrize("how", ["magnitude", "random"])
@given(amounts=st.lists(st.floats(0, 0.9), min_size=1, max_size=4))
def test_rounds_nest(how, amounts):
    generator = torch.Generator().manual_seed(0)
    masks = lth.MaskSet({"a": torch.ones(5, 7, dtype=torch.bool), "b": torch.ones(11).bool()})
    for amount in amounts:
        weights = {n: torch.randn(m.shape, generator=generator) for n, m in masks.items()}
        after = lth.prune(weights, masks, amount, criterion=how, generator=generator)
        assert positions(after) <= positions(masks)
        assert after.kept == masks.kept - round(amount * masks.kept)
        masks = after


@pytest.mark.parametrize("how", ["magnitude", "random"])
def test_model_and_masks_are_left_alone(how):
    model = Backbone()
    masks = random_masks(model)
    before, digest = state_bits(model), masks.digest()
    lth.prune(model, masks, 0.5, criterion=how)
    assert state_bits(model) == before
    assert masks.digest() == digest
    assert all(p.grad is None for p in model.parameters())


def test_masks_relative_to_the_backbone_fit_the_whole_model():
    torch.manual_seed(0)
    model = MMLike()
    relative = random_masks(model.backbone)
    expected = lth.prune(model.backbone, relative, 0.5)
    assert lth.prune(model, relative, 0.5) == expected
    assert lth.prune(nn.DataParallel(model), relative, 0.5) == expected
    assert lth.prune(model.state_dict(), relative, 0.5) == expected
    absolute = relative.with_prefix("backbone.")
    assert lth.prune(model, absolute, 0.5) == expected.with_prefix("backbone.")


@pytest.mark.parametrize("form", ["module", "state dict"])
def test_twins_are_never_ranked(form):
    """The papers' code ranked stale copies (protocol sheet, A.4)."""
    torch.manual_seed(0)
    model = MoCoLike()
    with torch.no_grad():
        for parameter in model.encoder_k.parameters():
            parameter.copy_(torch.randn_like(parameter))
    masks = random_masks(model.encoder_q)
    weights = model if form == "module" else model.state_dict()
    assert lth.prune(weights, masks, 0.5) == lth.prune(model.encoder_q, masks, 0.5)
    assert lth.prune(weights, masks, 0.5) != lth.prune(model.encoder_k, masks, 0.5)


# ---------------------------------------------------------------------------------------------
# Randomness


def test_random_criterion_is_decided_by_the_seed():
    model = Backbone(width=8)
    masks = lth.MaskSet.ones(model, lth.prunable(model))

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return lth.prune(model, masks, 0.3, criterion="random", generator=generator)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1).kept == masks.total - round(0.3 * masks.total)


def test_random_criterion_is_uniform_and_ignores_the_weights():
    weights = {"a": torch.full((50, 2), 9.0), "b": torch.full((300,), 1e-9)}
    ones = lth.MaskSet({n: torch.ones(w.shape, dtype=torch.bool) for n, w in weights.items()})
    generator = torch.Generator().manual_seed(0)
    hits = sum(
        (~lth.prune(weights, ones, 0.25, criterion="random", generator=generator))["a"].int()
        for _ in range(200)
    )
    # Binomial(200, 1/4): mean 50, standard deviation 6.1; the extremes of 100 stay within 4.5.
    assert hits.double().mean().item() == pytest.approx(50, abs=2)
    assert hits.min() > 50 - 28
    assert hits.max() < 50 + 28


# ---------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(bad):
    model = Backbone()
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    model.layer1[0].conv2.weight.data[1, 2, 0, 1] = bad
    with pytest.raises(MaskError, match=r"layer1\.0\.conv2\.weight holds NaN or infinity"):
        lth.prune(model, masks, 0.2)
    # Where it is pruned already it does not matter.
    masks["layer1.0.conv2.weight"][1, 2, 0, 1] = False
    assert lth.prune(model, masks, 0.2).kept == masks.kept - round(0.2 * masks.kept)


@pytest.mark.parametrize("amount", [-0.1, 1.0001, 20, float("nan"), float("inf")])
def test_amount_out_of_range(amount):
    model = Backbone()
    with pytest.raises(MaskError, match="must lie between 0 and 1"):
        lth.prune(model, random_masks(model), amount)


def test_unknown_names_list_the_known_ones():
    model = Backbone()
    masks = random_masks(model)
    with pytest.raises(ConfigError, match=r"'magnitud'.*magnitude, random"):
        lth.prune(model, masks, 0.2, criterion="magnitud")
    with pytest.raises(ConfigError, match=r"'layers'.*global, uniform"):
        lth.prune(model, masks, 0.2, allocation="layers")


def test_masks_of_another_model_are_refused():
    with pytest.raises(MaskError, match=r"layer1\.0\.conv1\.weight is \(8, 8, 3, 3\)"):
        lth.prune(Backbone(8), random_masks(Backbone(4)), 0.2)
    with pytest.raises(MaskError, match="is missing"):
        lth.prune({"a": torch.zeros(3)}, random_masks(Backbone(4)), 0.2)


# ---------------------------------------------------------------------------------------------
# Own criteria and allocations


def test_a_registered_criterion_is_used(monkeypatch):
    monkeypatch.setattr("lth_core.scores._CRITERIA", dict(_CRITERIA))

    @criterion("largest_first")
    def largest_first(weights, generator=None):
        return {name: -weight.abs() for name, weight in weights.items()}

    weights = {"w": torch.tensor([1.0, -5.0, 3.0, 4.0])}
    ones = lth.MaskSet({"w": torch.ones(4, dtype=torch.bool)})
    result = lth.prune(weights, ones, 0.5, criterion="largest_first")
    assert positions(result) == {("w", 0), ("w", 2)}


def test_a_registered_allocation_is_used(monkeypatch):
    monkeypatch.setattr("lth_core.allocation._ALLOCATIONS", dict(_ALLOCATIONS))

    @allocation("first_only")
    def first_only(masks, amount):
        return [([next(iter(masks))], 2)]

    weights = {"a": torch.tensor([3.0, 1.0, 2.0]), "b": torch.zeros(3)}
    ones = lth.MaskSet({n: torch.ones(3, dtype=torch.bool) for n in weights})
    result = lth.prune(weights, ones, 0.5, allocation="first_only")
    assert positions(~result) == {("a", 1), ("a", 2)}


# ---------------------------------------------------------------------------------------------
# Every allocation and structure, in any form of the weights


@pytest.mark.parametrize("criterion_name", ["magnitude", "random"])
@pytest.mark.parametrize(
    "how",
    [
        {"allocation": "global"},
        {"allocation": "uniform"},
        {"allocation": "erk"},
        {"structure": "2:4"},
    ],
)
@given(
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    weights_last=st.booleans(),
    masks_last=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_dtype_and_memory_format_decide_nothing(
    criterion_name, how, dtype, weights_last, masks_last, seed
):
    shapes = {"a": (4, 8, 3, 3), "b": (2, 4, 1, 1), "c": (3, 4, 2, 3)}
    generator = torch.Generator().manual_seed(seed)
    # Small integers, with many ties, are the same numbers in every dtype.
    weights = {n: torch.randint(-8, 9, s, generator=generator).double() for n, s in shapes.items()}
    masks = lth.MaskSet({n: torch.rand(s, generator=generator) < 0.8 for n, s in shapes.items()})

    def drawn(weights, masks):
        generator = torch.Generator().manual_seed(seed)
        return lth.prune(weights, masks, 0.4, criterion_name, generator=generator, **how)

    expected = drawn(weights, masks)
    weights = {n: weight.to(dtype) for n, weight in weights.items()}
    last = torch.channels_last
    if weights_last:
        weights = {n: weight.contiguous(memory_format=last) for n, weight in weights.items()}
    if masks_last:
        masks = masks.map(lambda mask: mask.contiguous(memory_format=last))
    found = drawn(weights, masks)
    assert found == expected
    assert found.digest() == expected.digest()
