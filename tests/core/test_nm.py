from __future__ import annotations

import lth_core as lth
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core import nm
from lth_core.errors import ConfigError, MaskError
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

from .helpers import Backbone, bool_tensors, positions, random_masks


def as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """A conv weight as kernels for NHWC see it: the input channel is the fastest."""
    return tensor.permute(0, 2, 3, 1).reshape(tensor.shape[0], -1)


def plainly(weight, mask, keep, group):
    """Loops over groups; of equal magnitudes the later stay."""
    result = torch.zeros_like(mask)
    out, channels, *kernel = weight.shape
    for index in torch.cartesian_prod(*(torch.arange(n) for n in (out, *kernel))).tolist():
        first, *rest = index if isinstance(index, list) else [index]
        for start in range(0, channels, group):
            places = [(first, c, *rest) for c in range(start, start + group)]
            live = [place for place in places if mask[place]]
            live.sort(key=lambda place: abs(weight[place].item()))
            for place in live[-keep:]:
                result[place] = True
    return result


shapes = st.sampled_from([(2, 4), (1, 8), (3, 4, 2), (2, 8, 1, 2), (2, 12, 3, 1), (1, 4, 1, 2, 2)])


@st.composite
def layers(draw):
    mask = draw(bool_tensors(shapes))
    size = mask.numel()
    values = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    return torch.tensor(values, dtype=torch.float32).reshape(mask.shape) / 4, mask


@given(layers(), st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2)]))
def test_the_largest_of_each_group_stay(layer, pattern):
    weight, mask = layer
    masks = lth.MaskSet({"w": mask})
    structure = f"{pattern[0]}:{pattern[1]}"
    result = lth.prune({"w": weight}, masks, structure=structure)
    assert torch.equal(result["w"], plainly(weight, mask, *pattern))
    assert nm.follows(result, structure)
    assert result.issubset(masks)
    assert lth.prune({"w": weight}, result, structure=structure) == result


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_torchs_own_format_holds_the_pruned_weights(density):
    """Its conversion keeps two of four and loses what is too much, so the round trip tells."""
    torch.manual_seed(0)
    model = Backbone(64).half()
    masks = random_masks(model, density)
    masks = lth.prune(model, masks, structure="2:4")
    for name, mask in masks.items():
        weight = as_matrix(model.get_parameter(name).detach())
        for values, exact in ((weight * as_matrix(mask), True), (weight, False)):
            there = sparse_semi_structured_from_dense_cutlass(values)
            back = sparse_semi_structured_to_dense_cutlass(*there)
            assert torch.equal(back, values) is exact


def test_dense_layers_become_exactly_half():
    torch.manual_seed(0)
    model = Backbone(8)
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    result = lth.prune(model, masks, amount=0.9, structure="2:4")
    assert set(result.layer_sparsity().values()) == {0.5}
    assert not nm.follows(masks)
    by_channel = result["layer1.0.conv1.weight"].reshape(8, 2, 4, 3, 3).sum(2)
    assert (by_channel == 2).all()


def test_of_equal_scores_the_first_go():
    weights = {"w": torch.ones(1, 4)}
    ones = lth.MaskSet({"w": torch.ones(1, 4, dtype=torch.bool)})
    assert positions(lth.prune(weights, ones, structure="2:4")) == {("w", 2), ("w", 3)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", ["contiguous", "weights", "masks"])
def test_dtype_and_memory_format_do_not_matter(dtype, form):
    torch.manual_seed(0)
    model = Backbone(8)
    for parameter in model.parameters():  # exact in every dtype
        parameter.data.copy_((parameter * 64).round() / 64)
    masks = random_masks(model, 0.7)
    expected = lth.prune(model, masks, structure="2:4")
    model = model.to(dtype)
    if form == "weights":
        model = model.to(memory_format=torch.channels_last)
    if form == "masks":
        masks = masks.map(lambda mask: mask.contiguous(memory_format=torch.channels_last))
    assert lth.prune(model, masks, structure="2:4") == expected


def test_any_criterion_can_rank():
    model = Backbone(8)
    masks = lth.MaskSet.ones(model, lth.prunable(model))

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return lth.prune(model, masks, criterion="random", structure="2:4", generator=generator)

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert nm.follows(drawn(0))


@pytest.mark.parametrize(
    "wrong", ["2-4", "", "2:", "4:4", "0:4", "5:4", "2:4:8", "-1:4", "２:４", 24]
)
def test_what_is_no_structure_is_refused(wrong):
    model = Backbone(8)
    with pytest.raises(ConfigError, match="structure"):
        lth.prune(model, random_masks(model), structure=wrong)


def test_layers_that_do_not_come_out_even_are_refused():
    model = Backbone(8)
    with pytest.raises(MaskError, match=r"multiples of 4: conv1\.weight has 3 input channels"):
        lth.prune(model, random_masks(model, stem=True), structure="2:4")
    ones = lth.MaskSet({"v": torch.ones(4, dtype=torch.bool)})
    for check in (
        lambda: lth.prune({"v": torch.ones(4)}, ones, structure="2:4"),
        lambda: nm.follows(ones),
    ):
        with pytest.raises(MaskError, match="v has no input channels"):
            check()


def test_an_allocation_beside_a_structure_is_refused():
    model = Backbone(8)
    with pytest.raises(ConfigError, match="leave the allocation out"):
        lth.prune(model, random_masks(model), allocation="erk", structure="2:4")


def test_weights_that_are_not_finite_are_refused():
    model = Backbone(8)
    masks = random_masks(model)
    model.layer1[0].conv2.weight.data[:] = float("nan")
    with pytest.raises(MaskError, match=r"conv2\.weight holds NaN"):
        lth.prune(model, masks, structure="2:4")
