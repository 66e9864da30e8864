"""Layer-wise tickets: pruned up to a depth, dense beyond (paper B, Figs. 4 and 9)."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import lth_core as lth
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from lth_core.analysis import network_order
from lth_core.cli.main import main
from lth_core.errors import ConfigError, MaskError
from lth_core.openmmlab.settings import parse_ticket
from lth_core.variant_kinds import make_variant
from torch import nn

from .helpers import Backbone, random_masks

NETWORKS = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "alexnet": torchvision.models.alexnet,
    "vgg19_bn": torchvision.models.vgg19_bn,
}


@cache
def weights_of(network_name: str) -> list[str]:
    """Names of convolutions and linear layers as the network's author registered them."""
    with torch.device("meta"):
        network = NETWORKS[network_name]()
    kinds = (nn.Conv2d, nn.Linear)
    return [f"{name}.weight" for name, m in network.named_modules() if isinstance(m, kinds)]


def small_masks(names: list[str]) -> lth.MaskSet:
    """A mask of four weights a name, of which one to three are pruned."""
    generator = torch.Generator().manual_seed(0)
    masks = {}
    for name in names:
        masks[name] = torch.rand(2, 2, generator=generator) < 0.5
        masks[name][0, 0], masks[name][0, 1] = True, False
    return lth.MaskSet(masks)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_tell_the_order_of_registration(name: str) -> None:
    names = weights_of(name)
    assert network_order(random.Random(0).sample(names, len(names))) == names


@given(st.sampled_from(sorted(NETWORKS)), st.data())
def test_a_number_prunes_so_many_layers_from_the_input(name: str, data: st.DataObject) -> None:
    names = weights_of(name)
    masks = small_masks(names)
    last = data.draw(st.integers(1, len(names)))
    made = make_variant("up_to", {"last": last}).derive(masks)
    for place, each in enumerate(names):
        expected = masks[each] if place < last else torch.ones(2, 2, dtype=torch.bool)
        assert torch.equal(made[each], expected)
    assert make_variant("up_to", {"last": names[last - 1]}).derive(masks) == made


@pytest.mark.parametrize(
    ("network", "last", "pruned"),
    [
        ("resnet50", "conv1", 1),  # the stem alone
        ("resnet50", "layer1", 11),  # and 3 blocks of 3 with one shortcut
        ("resnet50", "layer2.0", 15),
        ("resnet50", "layer2", 24),
        ("resnet50", "layer4", 53),
        ("resnet50", "all", 54),
        ("alexnet", "features.0", 1),  # Fig. 9: conv1
        ("alexnet", "features.6", 3),  # up to conv3
        ("alexnet", "features", 5),  # up to conv5
        ("alexnet", "all", 8),
    ],
)
def test_the_depths_of_figures_4_and_9(network: str, last: str, pruned: int) -> None:
    masks = small_masks(weights_of(network))
    made = make_variant("up_to", {"last": last}).derive(masks)
    changed = {name for name in masks if not bool(made[name].all())}
    assert changed == set(weights_of(network)[:pruned])
    assert all(torch.equal(made[name], masks[name]) for name in changed)


@pytest.mark.parametrize("last", ["layer", "layer1.0.conv", "layer1.0.conv1.weights", "head", 4])
def test_what_is_not_there_is_refused(last: str | int) -> None:
    masks = random_masks(Backbone(), 0.2, seed=1)
    with pytest.raises(MaskError, match=rf"up_to: .*{last}") as caught:
        make_variant("up_to", {"last": last}).derive(masks)
    assert "\n" not in str(caught.value)


def test_random_masks_up_to_a_depth_keep_its_counts() -> None:
    masks = small_masks(weights_of("alexnet"))
    made = make_variant("up_to", {"last": 3}).derive(masks)
    shuffled = make_variant("shuffle", {"seed": 1}).derive(made)
    assert shuffled != made
    assert shuffled.layer_sparsity() == made.layer_sparsity()


def test_from_the_command_line_and_in_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = random_masks(Backbone(), 0.3)
    lth.Ticket(masks).save(tmp_path / "t")
    out = str(tmp_path / "out")
    for word, last in (("layer1.0.conv1", "layer1.0.conv1"), ("1", 1)):
        assert (
            main(["ticket", "variant", str(tmp_path / "t"), "up_to", "--last", word, "-o", out])
            == 0
        )
        made = lth.Ticket.load(out)
        assert made.masks == lth.variants.up_to(masks, last)
        assert made.meta["variant"] == {"type": "up_to", "last": last}
        given_in_config = {"path": out, "weights": "keep", "variant": made.meta["variant"]}
        assert parse_ticket(given_in_config).variant == make_variant("up_to", {"last": last})
    capsys.readouterr()
    assert (
        main(["ticket", "variant", str(tmp_path / "t"), "up_to", "--last", "head", "-o", out]) == 2
    )
    assert capsys.readouterr().err.startswith("error: up_to: no masked weight is called 'head'")
    with pytest.raises(ConfigError, match=r"name a checkpoint in ticket\.weights"):
        parse_ticket({"path": out, "variant": {"type": "up_to", "last": 1}})
