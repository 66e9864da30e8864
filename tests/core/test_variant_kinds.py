"""Variants by name: what each setting does, and that nothing else is taken."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import lth_core as lth
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core.errors import CheckpointError, ConfigError, LTHError, MaskError
from lth_core.variant_kinds import all_settings, kinds, make_variant

from .helpers import Backbone, mask_sets, positions, random_masks

FIELDS = {
    "complement": set(),
    "even": {"seed"},
    "perturb": {"seed", "fraction", "keep_density"},
    "random": {"seed", "match", "among"},
    "shuffle": {"seed", "unit"},
    "up_to": {"last"},
}
DRAWN = [name for name, fields in FIELDS.items() if "seed" in fields]
EXAMPLES = {
    "seed": 3,
    "fraction": 0.5,
    "keep_density": True,
    "match": "layer",
    "among": "dense.pth",
    "unit": "kernel",
    "last": "layer2",
}


def derive(masks: lth.MaskSet, kind: str, **settings: object) -> lth.MaskSet:
    return make_variant(kind, settings).derive(masks)


def counts(masks: lth.MaskSet) -> list[int]:
    return [int(mask.sum()) for mask in masks.values()]


# ---------------------------------------------------------------------------------------------
# Which there are


def test_every_kind_with_its_fields_is_listed():
    assert list(kinds()) == sorted(FIELDS)
    listed = {each.name: set(each.kinds) for each in all_settings()}
    assert listed == {
        field: {kind for kind in FIELDS if field in FIELDS[kind]} for field in EXAMPLES
    }
    for each in all_settings():
        for kind in each.kinds:
            assert getattr(make_variant(kind, {}), each.name) == each.default
        assert each.values.fits(each.default)


@pytest.mark.parametrize(("kind", "field"), itertools.product(FIELDS, EXAMPLES))
def test_a_field_is_taken_by_the_kinds_that_have_it_and_by_no_other(kind, field):
    if field in FIELDS[kind]:
        assert make_variant(kind, {field: EXAMPLES[field]}).settings()[field] == EXAMPLES[field]
        return
    with pytest.raises(ConfigError, match=f"'{kind}' has no field '{field}'") as caught:
        make_variant(kind, {field: EXAMPLES[field]})
    named = str(caught.value).partition("it has ")[2].split(", ")
    assert set(named) == (FIELDS[kind] or {"none"})


@pytest.mark.parametrize("name", ["shuffled", "", "Random", None, 3, ["random"], {"type": "even"}])
def test_an_unknown_name_is_answered_with_all_that_there_are(name):
    with pytest.raises(
        ConfigError, match="choose from complement, even, perturb, random, shuffle, up_to"
    ):
        make_variant(name, {})


@pytest.mark.parametrize(
    ("kind", "field", "value", "said"),
    [
        ("random", "seed", -1, "whole number from 0"),
        ("random", "seed", 2**63, "whole number from 0"),
        ("random", "seed", 1.0, "whole number from 0"),
        ("random", "seed", True, "whole number from 0"),
        ("random", "seed", None, "whole number from 0"),
        ("random", "match", "layers", "'global' or 'layer'"),
        ("random", "match", None, "'global' or 'layer'"),
        ("random", "match", ["layer"], "'global' or 'layer'"),
        ("random", "among", "", "the path of a file"),
        ("random", "among", 3, "the path of a file"),
        ("perturb", "fraction", 1.01, "number between 0 and 1"),
        ("perturb", "fraction", -0.01, "number between 0 and 1"),
        ("perturb", "fraction", float("nan"), "number between 0 and 1"),
        ("perturb", "fraction", "0.1", "number between 0 and 1"),
        ("perturb", "fraction", True, "number between 0 and 1"),
        ("perturb", "keep_density", 1, "True or False"),
        ("shuffle", "unit", "filter", "'weight' or 'kernel'"),
        ("up_to", "last", 0, "number of weights from 1 on"),
        ("up_to", "last", True, "name of a weight or a part"),
        ("up_to", "last", "", "or 'all'"),
        ("up_to", "last", None, "or 'all'"),
    ],
)
def test_malformed_fields_are_refused_before_anything_is_derived(kind, field, value, said):
    with pytest.raises(ConfigError, match=f"variant '{kind}': {field} is .*{said}"):
        make_variant(kind, {field: value})


def test_the_settings_are_json_and_make_the_same_variant_again():
    made = make_variant("random", {"seed": 2**63 - 1, "match": "layer", "among": "x.pth"})
    again = json.loads(json.dumps(made.settings()))
    assert again == {"type": "random", "seed": 2**63 - 1, "match": "layer", "among": "x.pth"}
    assert make_variant(again.pop("type"), again) == made


def test_the_docs_list_every_kind_and_every_field():
    text = (Path(__file__).parents[2] / "docs" / "config-keys.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for kind, fields in FIELDS.items():
        row = rows[f'`"{kind}"`']
        assert all(f"`{field}`" in row for field in fields)
        assert not any(f"`{field}`" in row for field in EXAMPLES.keys() - fields)


# ---------------------------------------------------------------------------------------------
# What each makes


@given(mask_sets(), st.integers(0, 2**63 - 1), st.sampled_from(sorted(FIELDS)))
def test_names_and_shapes_stay_and_equal_settings_give_equal_masks(sets, seed, kind):
    (masks,) = sets
    settings = {"seed": seed} if kind in DRAWN else {}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    made = derive(masks, kind, **settings)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert derive(masks, kind, **settings) == made
    assert {n: m.shape for n, m in made.items()} == {n: m.shape for n, m in masks.items()}


@pytest.mark.parametrize("kind", DRAWN)
def test_another_seed_gives_another_mask(kind):
    masks = random_masks(Backbone(8), 0.3)
    assert derive(masks, kind) == derive(masks, kind, seed=0)
    assert derive(masks, kind, seed=1) != derive(masks, kind, seed=2)


@given(mask_sets())
def test_complement(sets):
    (masks,) = sets
    made = positions(derive(masks, "complement"))
    everything = positions(masks | ~masks)
    assert made == everything - positions(masks)


LOPSIDED = lth.MaskSet(
    {"a": torch.ones(30, 40, dtype=torch.bool), "b": torch.zeros(30, 80, dtype=torch.bool)}
)


def test_random_matches_the_whole_or_every_layer():
    spread = derive(LOPSIDED, "random")
    assert spread.kept == 1200
    # Hypergeometric: 1200 of 3600 drawn, 1200 of them lie in a: mean 400, deviation 13.3.
    assert abs(counts(spread)[0] - 400) < 80
    assert derive(LOPSIDED, "random", match="layer") == LOPSIDED


def test_random_keeps_to_what_training_left(tmp_path):
    masks = random_masks(Backbone(8), 0.2, seed=3)
    torch.manual_seed(0)
    dense = Backbone(8)
    alive = {}
    with torch.no_grad():
        for name in masks:
            weight = dense.get_parameter(name)
            weight[:, ::2] = 1e-8  # below the machine epsilon of float32, 1.19e-7
            alive[name] = [abs(value) > 2**-23 for value in weight.flatten().tolist()]
    state = {f"backbone.{n}": t for n, t in dense.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "dense.pth")
    left = {(n, i) for n, bits in alive.items() for i, bit in enumerate(bits) if bit}
    for match in ("global", "layer"):
        made = derive(masks, "random", match=match, among=str(tmp_path / "dense.pth"), seed=1)
        assert positions(made) <= left
        assert made.kept == masks.kept
        assert (counts(made) == counts(masks)) == (match == "layer")
    assert not positions(derive(masks, "random", seed=1)) <= left


def test_random_among_a_file_that_does_not_do_says_which(tmp_path):
    masks = random_masks(Backbone(), 0.2)
    with pytest.raises(CheckpointError, match=r"absent\.pth does not exist"):
        derive(masks, "random", among=str(tmp_path / "absent.pth"))
    torch.save(Backbone(8).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(MaskError, match=r"wide\.pth: .*is \(8, 8, 3, 3\), not \(4, 4, 3, 3\)"):
        derive(masks, "random", among=str(tmp_path / "wide.pth"))
    dead = {name: torch.zeros_like(tensor) for name, tensor in Backbone().state_dict().items()}
    torch.save(dead, tmp_path / "dead.pth")
    with pytest.raises(LTHError, match=r"dead\.pth: .*but only 0 may be chosen") as caught:
        derive(masks, "random", among=str(tmp_path / "dead.pth"))
    assert "\n" not in str(caught.value)


@given(mask_sets(), st.floats(0, 1), st.booleans())
def test_perturb_flips_its_share(sets, fraction, keep_density):
    (masks,) = sets
    made = derive(masks, "perturb", fraction=fraction, keep_density=keep_density)
    ones, zeros = masks.kept, masks.total - masks.kept
    lost = len(positions(masks) - positions(made))
    won = len(positions(made) - positions(masks))
    if keep_density:
        assert lost == won == min(round(fraction * ones), zeros)
    else:
        assert (lost, won) == (round(fraction * ones), round(fraction * zeros))


def test_perturb_takes_ten_percent_unasked():
    masks = lth.MaskSet({"w": (torch.arange(10_000) < 180).reshape(100, 100)})
    assert derive(masks, "perturb").kept == 180 - 18 + 982  # paper A: 1.8 % become 11.4 %
    assert derive(masks, "perturb", keep_density=True).kept == 180


def kernels(mask: torch.Tensor) -> list[list[bool]]:
    return sorted(kernel.flatten().tolist() for row in mask for kernel in row)


def test_shuffle_moves_weights_or_kernels_within_layers():
    masks = random_masks(Backbone(8), 0.1)
    apart, whole = derive(masks, "shuffle"), derive(masks, "shuffle", unit="kernel")
    assert counts(apart) == counts(whole) == counts(masks)
    for name, mask in masks.items():
        assert kernels(whole[name]) == kernels(mask) != kernels(apart[name])
        assert not torch.equal(whole[name], mask)


def test_even_gives_every_layer_one_density():
    assert counts(derive(LOPSIDED, "even")) == [400, 800]
    one = lth.MaskSet({name: torch.arange(9) < k for name, k in (("a", 9), ("b", 1), ("c", 0))})
    assert counts(derive(one, "even")) == [4, 3, 3]  # 10 in three: the rest to the first
