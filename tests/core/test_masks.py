from __future__ import annotations

import hashlib

import lth_core as lth
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core.errors import MaskError
from lth_core.masks import pack_bits, unpack_bits

from .helpers import Backbone, Classifier, bool_tensors, mask_sets, positions, shapes


@given(mask_sets(count=2))
def test_algebra_is_that_of_python_sets(pair):
    a, b = pair
    universe = {(n, i) for n, m in a.items() for i in range(m.numel())}
    one, other = positions(a), positions(b)
    assert positions(a & b) == one & other
    assert positions(a | b) == one | other
    assert positions(~a) == universe - one
    assert (a == b) == (one == other)
    assert a.issubset(b) == (one <= other)
    assert b.issubset(a) == (other <= one)
    assert a.kept == len(one)
    assert a.total == len(universe)
    assert a.sparsity == pytest.approx(1 - len(one) / len(universe) if universe else 0.0, abs=1e-15)
    assert a.iou(b) == (len(one & other) / len(one | other) if one | other else 1.0)
    for name, mask in a.items():
        kept = sum(n == name for n, _ in one)
        expected = 1 - kept / mask.numel() if mask.numel() else 1.0
        assert a.layer_sparsity()[name] == pytest.approx(expected, abs=1e-15)


@given(mask_sets())
def test_digest_is_that_of_the_golden_definition(sets):
    (masks,) = sets
    sha = hashlib.sha256()
    for name in sorted(masks):
        packed = np.packbits(np.array(masks[name].tolist(), dtype=bool).ravel(), bitorder="little")
        sha.update(packed.tobytes())
    assert masks.digest() == sha.hexdigest()


@given(mask_sets(), st.data())
def test_one_flipped_bit_changes_digest_and_equality(sets, data):
    (masks,) = sets
    everything = [(n, i) for n, m in masks.items() for i in range(m.numel())]
    if not everything:
        return
    name, index = data.draw(st.sampled_from(everything))
    changed = {n: m.clone() for n, m in masks.items()}
    changed[name].view(-1)[index] ^= True
    other = lth.MaskSet(changed)
    assert other != masks
    assert other.digest() != masks.digest()
    assert len(positions(other) ^ positions(masks)) == 1


@given(mask_sets())
def test_order_of_insertion_does_not_matter(sets):
    (masks,) = sets
    backwards = lth.MaskSet({name: masks[name] for name in reversed(list(masks))})
    assert list(backwards) == list(masks) == sorted(masks)
    assert backwards == masks
    assert hash(backwards) == hash(masks)
    assert backwards.digest() == masks.digest()


@given(bool_tensors())
def test_packing_goes_there_and_back(mask):
    packed = pack_bits(mask)
    assert packed.dtype == np.uint8
    assert packed.tolist() == [
        sum(bit << k for k, bit in enumerate(mask.flatten().tolist()[i : i + 8]))
        for i in range(0, mask.numel(), 8)
    ]
    with pytest.raises(MaskError):
        unpack_bits(packed[None], tuple(mask.shape))
    back = unpack_bits(packed, tuple(mask.shape))
    assert back.dtype == torch.bool
    assert back.shape == mask.shape
    assert torch.equal(back, mask)


@given(shapes, st.binary(max_size=12))
def test_unpacking_refuses_what_packing_cannot_have_made(shape, data):
    packed = np.frombuffer(data, dtype=np.uint8)
    try:
        mask = unpack_bits(packed, shape)
    except MaskError:
        count = int(np.prod(shape, dtype=int))
        fits = len(data) == (count + 7) // 8
        assert not fits or int.from_bytes(data, "little") >> count
    else:
        assert pack_bits(mask).tobytes() == data


def test_packing_follows_c_order_whatever_the_memory_format():
    mask = torch.rand(4, 6, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    other = mask.contiguous(memory_format=torch.channels_last)
    assert other.stride() != mask.stride()
    assert pack_bits(other).tobytes() == pack_bits(mask).tobytes()
    assert pack_bits(mask.transpose(0, 1)).tobytes() != pack_bits(mask).tobytes()
    assert lth.MaskSet({"w": other}).digest() == lth.MaskSet({"w": mask}).digest()


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(3),
        torch.ones(3, dtype=torch.uint8),
        torch.ones(3, dtype=torch.int64),
        np.ones(3, dtype=bool),
        [True, False],
        None,
    ],
    ids=["float", "uint8", "int64", "numpy", "list", "none"],
)
def test_only_booleans_are_masks(mask):
    with pytest.raises(MaskError, match=r"conv\.weight.*not bool"):
        lth.MaskSet({"conv.weight": mask})


def test_ones_keeps_everything_named():
    model = Backbone()
    names = lth.prunable(model)
    masks = lth.MaskSet.ones(model, names)
    assert set(masks) == set(names)
    assert masks.sparsity == 0
    assert masks.kept == masks.total == sum(model.get_parameter(n).numel() for n in names) == 288
    assert all(masks[n].shape == model.get_parameter(n).shape for n in names)
    assert (~masks).sparsity == 1


def test_ones_refuses_a_name_the_model_lacks():
    with pytest.raises(MaskError, match=r"Backbone has no parameter 'layer9\.weight'"):
        lth.MaskSet.ones(Backbone(), ["layer9.weight"])
    with pytest.raises(MaskError, match="running_mean"):  # a buffer is no parameter
        lth.MaskSet.ones(Backbone(), ["bn1.running_mean"])


@pytest.mark.parametrize("operation", ["__and__", "__or__", "iou", "issubset"])
def test_sets_of_other_names_or_shapes_do_not_mix(operation):
    a = lth.MaskSet({"a": torch.ones(2, 3, dtype=torch.bool)})
    renamed = a.rename(lambda name: "b")
    # Broadcasting would make something of (3,) and (2, 3).
    reshaped = lth.MaskSet({"a": torch.ones(3, dtype=torch.bool)})
    more = lth.MaskSet({**a, "b": torch.ones(1, dtype=torch.bool)})
    for other in (renamed, reshaped, more):
        with pytest.raises(MaskError):
            getattr(a, operation)(other)
        with pytest.raises(MaskError):
            getattr(other, operation)(a)
        assert a != other


def test_comparison_with_something_else():
    masks = lth.MaskSet({"a": torch.ones(2, dtype=torch.bool)})
    assert (masks == {"a": torch.ones(2, dtype=torch.bool)}) is False
    assert masks != "masks"


def test_names_are_changed_and_never_merged():
    masks = lth.MaskSet.ones(Classifier(), ["layer1.0.conv1.weight", "layer1.0.conv2.weight"])
    prefixed = masks.with_prefix("backbone.")
    assert set(prefixed) == {"backbone." + name for name in masks}
    assert prefixed.without_prefix("backbone.") == masks
    assert masks.without_prefix("backbone.") == masks
    assert prefixed.digest() == masks.digest()
    with pytest.raises(MaskError, match="same name"):
        masks.rename(lambda name: "weight")


def test_it_is_a_mapping_that_cannot_be_assigned_to():
    masks = lth.MaskSet.ones(Backbone(), ["conv1.weight"])
    masks["conv1.weight"][:1] = False
    assert "conv1.weight" in masks
    assert masks.get("conv9.weight") is None
    assert len(masks) == 1
    with pytest.raises(TypeError):
        masks["conv1.weight"] = masks["conv1.weight"]
    assert "kept 81 of 108, sparsity 25.00 %" in repr(masks)
    assert masks.to("cpu") == masks


def test_operations_leave_their_operands_alone():
    generator = torch.Generator().manual_seed(0)
    a, b = (lth.MaskSet({"w": torch.rand(40, generator=generator) < 0.5}) for _ in range(2))
    before = a.digest(), b.digest()
    _ = (~a, a & b, a | b, a.iou(b), a.to("cpu"), a.map(torch.logical_not), a == b)
    assert (a.digest(), b.digest()) == before
