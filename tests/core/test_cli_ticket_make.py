"""``lth ticket make`` and ``lth ticket variant`` as a user calls them."""

from __future__ import annotations

import os

import lth_core as lth
import pytest
import torch
from lth_core import nm
from lth_core.cli.main import main

from .helpers import Backbone, bits, random_masks
from .test_cli_tickets import fails, prints


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def model() -> Backbone:
    """A backbone of width 8, its weights in ``w.pth``."""
    torch.manual_seed(0)
    model = Backbone(8)
    torch.save(model.state_dict(), "w.pth")
    return model


def make(capsys, *options: str) -> lth.Ticket:
    prints(capsys, "ticket", "make", "w.pth", *options, "-o", "made")
    return lth.Ticket.load("made")


def refused(capsys, *arguments: str) -> str:
    """The one line that is printed where nothing is written."""
    before = sorted(os.listdir())
    said = fails(capsys, "ticket", *arguments, "-o", "new")
    assert sorted(os.listdir()) == before
    return said


def ladder(kept: int, rounds: int, amount: float = 0.2) -> int:
    for _ in range(rounds):
        kept -= round(amount * kept)
    return kept


# ---------------------------------------------------------------------------------------------
# make


def test_make_keeps_the_largest_of_all_layers(capsys, model):
    ticket = make(capsys, "--level", "3")
    assert list(ticket.masks) == ["layer1.0.conv1.weight", "layer1.0.conv2.weight"]
    weights = {name: model.get_parameter(name).detach() for name in ticket.masks}
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()]).tolist()
    kept = ladder(len(magnitudes), 3)
    smallest = sorted(magnitudes, reverse=True)[kept - 1]
    assert ticket.masks.kept == kept
    for name, mask in ticket.masks.items():
        assert torch.equal(mask, weights[name].abs() >= smallest)
        assert bits(ticket.weights[name]) == bits(torch.where(mask, weights[name], 0.0))
    assert bits(ticket.weights["conv1.weight"]) == bits(model.conv1.weight)
    assert ticket.meta == {
        "level": 3,
        "nominal_sparsity": pytest.approx(0.488),
        "criterion": "magnitude",
        "allocation": "global",
        "one_shot": True,
        "source": "w.pth",
        "weights_name": "w",
        "stem": False,
    }


def test_make_with_the_stem_in_other_steps(capsys, model):
    ticket = make(capsys, "--level", "2", "--amount", "0.5", "--stem")
    assert ticket.masks.total == 8 * 3 * 9 + 2 * 8 * 8 * 9
    assert ticket.masks.kept == ladder(ticket.masks.total, 2, 0.5)
    assert ticket.meta["nominal_sparsity"] == 0.75


def test_make_at_random_follows_the_seed(capsys, model):
    zero, default, one = (
        make(capsys, "--level", "2", "--criterion", "random", *seed)
        for seed in (["--seed", "0"], [], ["--seed", "1"])
    )
    assert zero.masks == default.masks
    assert zero.masks.kept == one.masks.kept == ladder(1152, 2)
    assert zero.masks != one.masks
    assert one.meta["criterion"] == "random"
    assert one.meta["seed"] == 1
    magnitude = make(capsys, "--level", "2").masks
    # Independent masks of density 0.64 share 0.64 of what they keep, give or take 0.01.
    shared = (one.masks & magnitude).kept / magnitude.kept
    assert shared == pytest.approx(0.64, abs=0.07)


def test_make_uniform_gives_every_layer_one_density(capsys, model):
    with torch.no_grad():
        model.layer1[0].conv1.weight.add_(100)  # over all, conv2 would lose everything first
    torch.save(model.state_dict(), "w.pth")
    everything = make(capsys, "--level", "1").masks
    assert int(everything["layer1.0.conv1.weight"].sum()) == 576
    uniform = make(capsys, "--level", "1", "--allocation", "uniform")
    assert sorted(int(m.sum()) for m in uniform.masks.values()) == [461, 461]  # 1152 - 230
    assert uniform.meta["allocation"] == "uniform"


def test_make_erk_gives_in_proportion_to_the_dimensions(capsys, model):
    ticket = make(capsys, "--level", "8", "--allocation", "erk", "--stem")
    kept = {name: int(mask.sum()) for name, mask in ticket.masks.items()}
    # Of the sums 8+3+3+3 = 17 and 8+8+3+3 = 22, twice.
    total = ladder(ticket.masks.total, 8)
    assert sum(kept.values()) == total
    assert kept["conv1.weight"] == pytest.approx(total * 17 / 61, abs=1)
    assert kept["layer1.0.conv2.weight"] == pytest.approx(total * 22 / 61, abs=1)


def test_make_like_another_ticket_keeps_as_many_in_every_layer(capsys, model):
    other = random_masks(Backbone(8), 0.3)
    lth.Ticket(other).save("other")
    ticket = make(capsys, "--allocation", "like=other")
    for name, mask in other.items():
        kept = int(mask.sum())
        largest = model.get_parameter(name).detach().abs().flatten().topk(kept).indices
        assert set(ticket.masks[name].flatten().nonzero().flatten().tolist()) == set(
            largest.tolist()
        )
    assert ticket.meta["like"] == other.digest()
    assert "level" not in ticket.meta


def test_make_with_structure_keeps_two_of_every_four(capsys, model):
    ticket = make(capsys, "--structure", "2:4")
    assert ticket.masks.sparsity == 0.5
    assert nm.follows(ticket.masks, "2:4")
    name = "layer1.0.conv1.weight"
    weight, mask = model.get_parameter(name).detach(), ticket.masks[name]
    for out, group, y, x in torch.cartesian_prod(*map(torch.arange, (8, 2, 3, 3))).tolist():
        four = slice(4 * group, 4 * group + 4)
        largest = weight[out, four, y, x].abs().topk(2).indices.tolist()
        assert mask[out, four, y, x].nonzero().flatten().tolist() == sorted(largest)
    assert ticket.meta["structure"] == "2:4"
    assert "level" not in ticket.meta
    random = make(capsys, "--structure", "1:4", "--criterion", "random")
    assert random.masks.sparsity == 0.75


def test_make_stops_where_nothing_is_left_to_prune(capsys, model):
    assert make(capsys, "--level", "100000000").masks.kept == 2  # 0.2 of 2 rounds to none
    assert make(capsys, "--level", "0").masks.kept == 1152


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "how much is to be pruned? give --level"),
        (["--level", "-1"], "argument --level: '-1' is not a whole number from 0 on"),
        (["--level", "1", "--amount", "1.5"], "--amount is 1.5"),
        (["--level", "0", "--amount", "nan"], "--amount is nan"),
        (["--amount", "0.3"], "give --level"),
        (["--structure", "2:4", "--level", "3"], "--structure sets how much is pruned"),
        (["--structure", "2:4", "--amount", "0.5"], "leave --level and --amount out"),
        (["--structure", "2:4", "--allocation", "erk"], "leave --allocation out"),
        (["--structure", "2:4", "--allocation", "like=other"], "leave --allocation out"),
        (["--structure", "4:2"], "keeps nothing or everything"),
        (["--structure", "half"], "write N:M"),
        (["--structure", "2:4", "--stem"], "conv1.weight has 3 input channels"),
        (["--structure", "2:5"], "multiples of 5"),
        (["--allocation", "like=other", "--level", "3"], "--allocation like= sets how much"),
        (["--allocation", "like=absent"], "absent does not exist"),
        (["--allocation", "like=other", "--stem"], "of another model: conv1.weight"),
        (["--allocation", "globl", "--level", "1"], "choose from erk, global, uniform, or like="),
        (["--criterion", "magnitud", "--level", "1"], "unknown criterion 'magnitud'"),
        (["--criterion", "snip", "--level", "1"], "use magnitude or random here"),
        (["--criterion", "synflow", "--level", "1"], "use magnitude or random here"),
        (["--criterion", "synflow", "--level", "0"], "use magnitude or random here"),
        (["--seed", "-1", "--level", "1"], "argument --seed: '-1' is not a whole number from 0 on"),
        (["--seed", str(2**63), "--level", "1"], "from 0 on, below 9223372036854775808"),
    ],
)
def test_make_refuses_in_one_line_and_writes_nothing(capsys, model, options, said):
    lth.Ticket(random_masks(Backbone(8))).save("other")
    assert said in refused(capsys, "make", "w.pth", *options)


# ---------------------------------------------------------------------------------------------
# variant


@pytest.fixture
def source(model) -> lth.Ticket:
    ticket = lth.Ticket(
        random_masks(model, 0.3), model.state_dict(), {"level": 5, "weights": "moco.pth"}
    )
    ticket.save("t")
    return ticket


def vary(capsys, kind: str, *options: str) -> lth.Ticket:
    prints(capsys, "ticket", "variant", "t", kind, *options, "-o", "varied")
    return lth.Ticket.load("varied")


def test_a_variant_is_a_mask_that_says_what_it_is_of(capsys, source):
    ticket = vary(capsys, "complement")
    assert ticket.masks == ~source.masks
    assert ticket.weights is None
    assert ticket.meta == {
        "level": 5,
        "variant": {"type": "complement"},
        "of": source.masks.digest(),
    }


@pytest.mark.parametrize(
    ("kind", "options", "made"),
    [
        ("random", [], lambda m, g: lth.variants.random(m, "global", g)),
        ("random", ["--match", "layer"], lambda m, g: lth.variants.random(m, "layer", g)),
        ("perturb", [], lambda m, g: lth.variants.perturb(m, 0.1, g)),
        ("perturb", ["--fraction", "0.5"], lambda m, g: lth.variants.perturb(m, 0.5, g)),
        ("perturb", ["--keep-density"], lambda m, g: lth.variants.perturb(m, 0.1, g, True)),
        ("shuffle", [], lambda m, g: lth.variants.shuffle(m, "weight", g)),
        ("shuffle", ["--unit", "kernel"], lambda m, g: lth.variants.shuffle(m, "kernel", g)),
        ("even", [], lambda m, g: lth.variants.even(m, g)),
    ],
)
def test_options_reach_the_variant(capsys, source, kind, options, made):
    expected = [made(source.masks, torch.Generator().manual_seed(seed)) for seed in (0, 7)]
    assert vary(capsys, kind, *options).masks == expected[0]
    ticket = vary(capsys, kind, *options, "--seed", "7")
    assert ticket.masks == expected[1] != expected[0]
    assert ticket.meta["variant"]["seed"] == 7


def test_a_config_makes_the_mask_that_the_command_makes(capsys, source):
    settings = pytest.importorskip("lth_core.openmmlab.settings")
    ticket = vary(capsys, "shuffle", "--unit", "kernel", "--seed", "3")
    parsed = settings.parse_ticket(
        {"path": "t", "weights": "keep", "variant": ticket.meta["variant"]}
    )
    assert parsed.variant.derive(source.masks) == ticket.masks


def test_random_among_what_training_left(capsys, source, model, tmp_path):
    (tmp_path / "runs").mkdir()
    with torch.no_grad():
        model.layer1[0].conv1.weight[:, 4:] = 0
    torch.save({"state_dict": model.state_dict()}, "runs/dense.pth")
    ticket = vary(capsys, "random", "--among", "runs/dense.pth")
    assert ticket.masks.kept == source.masks.kept
    assert not ticket.masks["layer1.0.conv1.weight"][:, 4:].any()
    assert ticket.meta["variant"]["among"] == "dense.pth"


def test_a_variant_with_weights_starts_from_the_checkpoint(capsys, source, model):
    ticket = vary(capsys, "complement", "--weights", "w.pth")
    for name, tensor in model.state_dict().items():
        mask = ticket.masks.get(name)
        wanted = tensor if mask is None else torch.where(mask, tensor, 0.0)
        assert bits(ticket.weights[name]) == bits(wanted)
    assert ticket.meta["weights"] == "w.pth"
    assert "weights: 18 tensors" in prints(capsys, "ticket", "show", "varied")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t", "complement", "--seed", "1"], "'complement' has no field 'seed'; it has none"),
        (["t", "random", "--fraction", "0.2"], "no field 'fraction'; it has seed, match, among"),
        (["t", "perturb", "--match", "layer"], "it has seed, fraction, keep_density"),
        (["t", "even", "--unit", "kernel"], "'even' has no field 'unit'; it has seed"),
        (["t", "shuffle", "--keep-density"], "no field 'keep_density'"),
        (["t", "perturb", "--fraction", "1.5"], "fraction is 1.5; use a number between 0 and 1"),
        (["t", "random", "--seed", "-1"], "seed is -1; use a whole number"),
        (["t", "random", "--among", "absent.pth"], "absent.pth does not exist"),
        (["t", "even", "--weights", "absent.pth"], "absent.pth does not exist"),
        (["t", "even", "--weights", "narrow.pth"], "(4, 4, 3, 3), not (8, 8, 3, 3)"),
        (["absent", "even"], "absent does not exist"),
        (["w.pth", "even"], "is not a ticket"),
    ],
)
def test_variant_refuses_in_one_line_and_writes_nothing(capsys, source, arguments, said):
    torch.save(Backbone(4).state_dict(), "narrow.pth")
    assert said in refused(capsys, "variant", *arguments)


def test_the_help_lists_kinds_and_options(capsys):
    with pytest.raises(SystemExit) as left:
        main(["ticket", "variant", "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for kind in ("complement", "even", "perturb", "random", "shuffle"):
        assert f"{kind}: " in text
    for option in ("among", "fraction", "keep-density", "match", "seed", "unit", "weights"):
        assert f"--{option} " in text
