"""Measures of masks against counting by hand, weight by weight."""

from __future__ import annotations

import itertools
import math
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_core import analysis
from lth_core.errors import ConfigError, MaskError
from torch import Tensor

NAMES = ("layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer2.0.fc.weight")
SHAPES = ((3, 2, 3, 3), (4, 3, 1, 1), (2, 4))


@st.composite
def mask_sets(draw: Any) -> lth.MaskSet:
    """Masks of three small layers: 3 x 3 kernels, 1 x 1 kernels, linear."""
    density = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    return lth.MaskSet(
        {
            name: torch.rand(shape, generator=generator) < density
            for name, shape in zip(NAMES, SHAPES, strict=True)
        }
    )


def bits(masks: lth.MaskSet) -> list[bool]:
    """All entries in order, as Python's own booleans."""
    return [bit for name in NAMES for bit in masks[name].flatten().tolist()]


# Similarity ---------------------------------------------------------------------------------------


@given(mask_sets(), mask_sets())
def test_similarity_counts_weights(one: lth.MaskSet, other: lth.MaskSet) -> None:
    pairs = list(zip(bits(one), bits(other), strict=True))
    both, either = sum(a and b for a, b in pairs), sum(a or b for a, b in pairs)
    smaller = min(sum(a for a, _ in pairs), sum(b for _, b in pairs))
    found = analysis.similarity(one, other)
    assert found.iou == (both / either if either else 1)
    assert found.overlap == (both / smaller if smaller else 1)
    assert found.hamming == sum(a != b for a, b in pairs) / len(pairs)
    assert found == analysis.similarity(other, one)


@pytest.mark.parametrize("match", ["global", "layer"])
@settings(max_examples=10, deadline=None)
@given(one=mask_sets(), other=mask_sets())
def test_chance_is_the_mean_over_random_masks(
    match: str, one: lth.MaskSet, other: lth.MaskSet
) -> None:
    expected = analysis.expected_by_chance(one, other, match=match)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        analysis.similarity(one, lth.variants.random(other, match=match, generator=generator))
        for _ in range(300)
    ]
    # Exact in the mean for what is linear in the number kept in both. Layers of the first mask are
    # uneven by chance only, so that a random mask of the second is independent of it either way.
    assert np.mean([s.hamming for s in drawn]) == pytest.approx(expected.hamming, abs=0.02)
    assert np.mean([s.overlap for s in drawn]) == pytest.approx(expected.overlap, abs=0.06)


def test_chance_at_the_papers_densities() -> None:
    """papers.md, A.4, item 20: independent masks of 32.77 % have 19.6 %, not under 6.55 %."""
    generator = torch.Generator().manual_seed(0)
    masks = [
        lth.MaskSet({"w": torch.rand(1000, 1000, generator=generator) < 0.8**5}) for _ in range(2)
    ]
    found = analysis.similarity(*masks).iou
    assert found == pytest.approx(0.196, abs=0.002)
    assert analysis.expected_by_chance(*masks).iou == pytest.approx(found, abs=0.002)


def test_layers_of_unlike_density_are_alike_by_chance() -> None:
    full, empty = torch.ones(10, 10, dtype=torch.bool), torch.zeros(10, 10, dtype=torch.bool)
    masks = lth.MaskSet({"a": full, "b": empty})
    assert analysis.expected_by_chance(masks, masks).iou == pytest.approx(1 / 3)
    assert analysis.expected_by_chance(masks, masks, match="layer").iou == 1


@given(st.lists(mask_sets(), min_size=1, max_size=4))
def test_matrix_is_every_pair(masks: list[lth.MaskSet]) -> None:
    matrix = analysis.similarity_matrix(masks)
    for i, j in itertools.product(range(len(masks)), repeat=2):
        assert matrix[i][j] == analysis.similarity(masks[i], masks[j])


def test_curves_pair_levels_that_both_chains_have() -> None:
    generator = torch.Generator().manual_seed(0)

    def chain(levels: int) -> list[lth.MaskSet]:
        found = [lth.MaskSet({"w": torch.ones(100, 10, dtype=torch.bool)})]
        while len(found) < levels:
            keep = torch.rand(100, 10, generator=generator) < 0.8
            found.append(found[-1] & lth.MaskSet({"w": keep}))
        return found

    chains = {"a": chain(3), "b": chain(2), "c": chain(3)}
    curves = analysis.similarity_curves(chains)
    assert {pair: len(curve) for pair, curve in curves.items()} == {
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("b", "c"): 2,
    }
    sparsity, found, chance = curves["a", "c"][2]
    assert sparsity == chains["a"][2].sparsity
    assert found == analysis.similarity(chains["a"][2], chains["c"][2])
    assert found.iou == pytest.approx(chance.iou, abs=0.05)


def test_masks_of_other_weights_are_refused() -> None:
    one = lth.MaskSet({"a": torch.ones(2, 2, dtype=torch.bool)})
    for other, message in (
        (lth.MaskSet({"b": torch.ones(2, 2, dtype=torch.bool)}), "only one mask has a; only"),
        (lth.MaskSet({"a": torch.ones(3, 2, dtype=torch.bool)}), r"a is \(2, 2\) and \(3, 2\)"),
    ):
        with pytest.raises(MaskError, match=message):
            analysis.similarity(one, other)
    with pytest.raises(MaskError, match="use 'global' or 'layer'"):
        analysis.expected_by_chance(one, one, match="kernel")


# Kernels ------------------------------------------------------------------------------------------


@given(mask_sets())
def test_zero_kernels_and_dead_channels(masks: lth.MaskSet) -> None:
    counts = analysis.kernel_counts(masks)
    assert list(counts) == list(NAMES[:2])
    for name, count in counts.items():
        mask = masks[name]
        kernels = [mask[o, i] for o in range(mask.shape[0]) for i in range(mask.shape[1])]
        zero = sum(not any(kernel.flatten().tolist()) for kernel in kernels)
        assert (count.kernels, count.zero) == (len(kernels), zero)
        large = mask.shape[2] > 1
        assert (count.spatial, count.zero_spatial) == ((len(kernels), zero) if large else (0, 0))
    for name, dead in analysis.dead_channels(masks).items():
        mask = masks[name]
        assert (dead.outputs, dead.inputs) == tuple(mask.shape[:2])
        rows = [not any(mask[o].flatten().tolist()) for o in range(mask.shape[0])]
        columns = [not any(mask[:, i].flatten().tolist()) for i in range(mask.shape[1])]
        assert (dead.dead_outputs, dead.dead_inputs) == (sum(rows), sum(columns))
    by_stage = analysis.kernel_counts_by_stage(masks)
    assert list(by_stage) == ["layer1"]
    assert by_stage["layer1"] == counts[NAMES[0]] + counts[NAMES[1]]


@given(mask_sets(), st.integers(1, 30))
def test_kernel_map_has_every_kernel_once(masks: lth.MaskSet, columns: int) -> None:
    picture, starts = analysis.kernel_map(masks, columns)
    expected = [
        float(np.mean(masks[name][o, i].numpy()))
        for name in NAMES[:2]
        for o in range(masks[name].shape[0])
        for i in range(masks[name].shape[1])
    ]
    assert picture.shape == (math.ceil(18 / columns), columns)
    assert picture.flatten()[:18] == pytest.approx(expected)
    assert np.isnan(picture.flatten()[18:]).all()
    assert starts == [("layer1", 0)]


@given(mask_sets())
def test_map_of_spatial_kernels_leaves_single_weights_out(masks: lth.MaskSet) -> None:
    picture, starts = analysis.kernel_map(masks, 6, spatial=True)
    alone, _ = analysis.kernel_map(lth.MaskSet({NAMES[0]: masks[NAMES[0]]}), 6)
    assert np.array_equal(picture, alone)
    assert starts == [("layer1", 0)]


@given(mask_sets())
def test_kept_weights_of_layers_and_stages(masks: lth.MaskSet) -> None:
    layers = analysis.kept_by_layer(masks)
    for name, (kept, total) in layers.items():
        entries = masks[name].flatten().tolist()
        assert (kept, total) == (sum(entries), len(entries))
    first, second, linear = (layers[name] for name in NAMES)
    assert analysis.kept_by_stage(layers) == {
        "layer1": (first[0] + second[0], first[1] + second[1]),
        "layer2": linear,
    }


def test_collapse_is_an_empty_layer() -> None:
    masks = lth.MaskSet({
        "layer1.10.w": torch.zeros(2, 2, dtype=torch.bool),
        "layer1.9.w": torch.zeros(2, 2, dtype=torch.bool),
        "layer2.w": torch.eye(2, dtype=torch.bool),
    })  # fmt: skip
    assert analysis.collapsed_layers(masks) == ["layer1.9.w", "layer1.10.w"]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("layer1.0.conv1.weight", "layer1"),
        ("layer3.12.downsample.0.weight", "layer3"),
        ("conv1.weight", "conv1"),
        ("stages.2.blocks.0.attn.weight", "stages.2"),
        ("features.28.weight", "features.28"),
        ("weight", "weight"),
    ],
)
def test_stages(name: str, stage: str) -> None:
    assert analysis.stage_of(name) == stage


def test_order_is_that_of_numbers() -> None:
    names = [f"layer3.{block}.conv1.weight" for block in (10, 2, 0, 22)] + ["layer2.3.w", "bn2"]
    blocks = [f"layer3.{block}.conv1.weight" for block in (0, 2, 10, 22)]
    assert analysis.network_order(names) == ["bn2", "layer2.3.w", *blocks]


# Weights ------------------------------------------------------------------------------------------


def test_natural_sparsity_counts_what_is_below_machine_precision() -> None:
    epsilon = torch.finfo(torch.float32).eps
    weights = {
        "backbone.a": torch.tensor([[0.0, epsilon, -epsilon, 2 * epsilon]]),
        "backbone.b": torch.ones(2, 2),
    }
    masks = lth.MaskSet({n[9:]: torch.ones(w.shape, dtype=torch.bool) for n, w in weights.items()})
    assert analysis.natural_sparsity(weights, masks) == (3 / 8, {"a": 0.75, "b": 0.0})
    assert analysis.natural_sparsity(weights, masks, threshold=1.0)[0] == 1


def test_every_kept_weight_is_in_the_histogram() -> None:
    weight = torch.tensor([0.0, 1e-14, 2e-12, -0.5, 3.0, 100.0])
    kept = lth.MaskSet({"w": torch.tensor([True, True, True, True, False, True])})
    found = analysis.magnitudes({"w": weight}, kept, bins=13)
    assert found.below == 2
    assert found.counts.sum() == 3
    assert (found.counts[0], found.counts[-1]) == (1, 1)  # 2e-12, and 100 in the last
    assert found.edges[[0, -1]] == pytest.approx([1e-12, 10])


def test_papers_scope_leaves_out_norms_biases_and_the_classifier() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(),
        torch.nn.Linear(4, 6), torch.nn.Linear(6, 2),
    )  # fmt: skip
    scope = analysis.paper_scope(model.state_dict())
    assert list(scope) == ["0.weight", "3.weight"]
    assert scope.sparsity == 0


@given(mask_sets(), st.integers(2, 12))
def test_sorted_magnitudes_are_the_kept_ones_in_order(masks: lth.MaskSet, points: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = {f"backbone.{n}": torch.randn(m.shape, generator=generator) for n, m in masks.items()}
    expected = sorted(
        abs(value)
        for name in NAMES
        for value, kept in zip(
            weights[f"backbone.{name}"].flatten().tolist(), masks[name].flatten(), strict=True
        )
        if kept
    )
    shares, values = analysis.sorted_magnitudes(weights, masks, points)
    if not expected:
        assert len(shares) == len(values) == 0
        return
    ranks = [round(share * (len(expected) - 1)) for share in shares]
    assert values.tolist() == [expected[rank] for rank in ranks]
    assert (values[0], values[-1]) == (expected[0], expected[-1])


def test_magnitudes_of_other_weights_are_refused() -> None:
    masks = lth.MaskSet({"a": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(MaskError, match="a"):
        analysis.sorted_magnitudes({"b": torch.ones(2, 2)}, masks)
    with pytest.raises(MaskError, match="a"):
        analysis.magnitudes({"b": torch.ones(2, 2)}, masks)


# Connectivity -------------------------------------------------------------------------------------


def well(state: dict[str, Tensor]) -> float:
    """Two valleys at -1 and 1 with a hill of height 1 between them."""
    return float((1 - state["w"] ** 2).square())


@pytest.mark.parametrize(
    ("one", "other", "barrier", "instability"),
    [
        (-1.0, 1.0, 1.0, 1.0),
        (1.0, 1.0, 0.0, 0.0),
        (0.5, 1.0, 0.0, 0.75**2 / 2),  # downhill all the way
        (-1.0, 0.0, 0.91**2 - 0.7, 0.5),  # highest above the line at -0.3
    ],
)
def test_barrier_of_a_double_well(
    one: float, other: float, barrier: float, instability: float
) -> None:
    ends = [{"w": torch.tensor(end)} for end in (one, other)]
    found = analysis.connectivity(*ends, well)
    assert found.barrier == pytest.approx(barrier, abs=1e-6)
    assert found.instability == pytest.approx(instability, abs=1e-6)
    assert found.fractions[5] == 0.5


def test_ends_are_the_solutions_themselves() -> None:
    one = {"w": torch.tensor([0.1, 1e-30]), "n": torch.tensor(3)}
    other = {"w": torch.tensor([0.3, 1e30]), "n": torch.tensor(7)}
    for fraction, end in ((0, one), (1, other)):
        between = analysis.interpolate(one, other, fraction)
        assert all(torch.equal(between[name], end[name]) for name in end)
        assert between["w"].data_ptr() != end["w"].data_ptr()
    assert int(analysis.interpolate(one, other, 0.4)["n"]) == 3
    assert float(analysis.interpolate(one, other, 0.25)["w"][0]) == pytest.approx(0.15)


def test_unlike_ends_are_refused() -> None:
    with pytest.raises(MaskError, match="v is in only one"):
        analysis.interpolate({"v": torch.ones(1)}, {}, 0.5)
    with pytest.raises(MaskError, match=r"v is \(1,\) and \(2,\)"):
        analysis.interpolate({"v": torch.ones(1)}, {"v": torch.ones(2)}, 0.5)
    with pytest.raises(ConfigError, match="2 points"):
        analysis.connectivity({}, {}, lambda _: 0.0, points=2)
