"""Models without dead channels: equal to the whole model, and as small as a count says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lth_core import compaction
from lth_core.compaction import Compacted, compact, largest_error
from lth_core.errors import CheckpointError, ConfigError, ExactnessError
from torch import Tensor, nn

EXACT = 1e-10
"""In float64, where rounding is about 1e-15 an operation."""


class Block(nn.Module):
    """Convolution, norm, activation, pool; with or without a sum around them."""

    def __init__(self, width: int, to: int, choice: dict[str, Any]) -> None:
        super().__init__()
        self.residual = choice["residual"]
        to = width if self.residual or choice["depthwise"] else to
        size = choice["size"]
        padding = size // 2 if self.residual or choice["padded"] else 0
        stride = 1 if self.residual else choice["stride"]
        groups = width if choice["depthwise"] else 1
        self.conv = nn.Conv2d(width, to, size, stride, padding, groups=groups, bias=choice["bias"])
        self.norm = nn.BatchNorm2d(to) if choice["norm"] else nn.Identity()
        self.act = {
            "relu": nn.ReLU(inplace=True),
            "sigmoid": nn.Sigmoid(),
            "hard": nn.Hardtanh(-0.2, 0.4),
            "none": nn.Identity(),
        }[choice["act"]]
        self.pool = {
            "max": nn.MaxPool2d(3, 1, 1),
            "average": nn.AvgPool2d(3, 1, 1),
            "narrow": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            "none": nn.Identity(),
        }[choice["pool"]]
        self.out = to

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return self.pool(self.act(x + y if self.residual else y))


class Net(nn.Module):
    """Blocks, then two linear layers behind a mean or a flattened picture."""

    def __init__(self, choices: list[dict[str, Any]], flat: bool, cat: bool) -> None:
        super().__init__()
        width, blocks = 2, []
        for choice in choices:
            blocks.append(Block(width, choice["width"], choice))
            width = blocks[-1].out
        self.blocks = nn.Sequential(*blocks)
        self.cat = cat
        width += 2 * cat
        self.end = nn.Sequential(
            nn.AdaptiveAvgPool2d(2 if flat else 1), nn.Flatten(), nn.Dropout(0.5)
        )
        self.hidden = nn.Linear(4 * width if flat else width, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(x)
        if self.cat:
            y = torch.cat([y, nn.functional.adaptive_avg_pool2d(x, y.shape[-2:])], dim=1)
        return self.head(torch.relu(self.hidden(self.end(y))))


BLOCKS = st.fixed_dictionaries(
    {
        "width": st.integers(1, 6),
        "residual": st.booleans(),
        "depthwise": st.booleans(),
        "size": st.sampled_from([1, 3]),
        "padded": st.booleans(),
        "stride": st.sampled_from([1, 2]),
        "bias": st.booleans(),
        "norm": st.booleans(),
        "act": st.sampled_from(["relu", "sigmoid", "hard", "none"]),
        "pool": st.sampled_from(["max", "average", "narrow", "none"]),
    }
)


def randomize(model: nn.Module, dead: float, seed: int) -> None:
    """Random weights and statistics; zeros in whole rows, in whole columns and here and there."""
    generator = torch.Generator().manual_seed(seed)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) < dead

    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
                tensor.data = drawn.abs() + 0.1 if name == "running_var" else drawn
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data[chance(len(module.weight))] = 0
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            weight = module.weight.data
            weight[chance(weight.shape[0])] = 0
            weight[:, chance(weight.shape[1])] = 0
            weight[chance(*weight.shape)] = 0
            if module.bias is not None:
                module.bias.data[chance(len(weight))] = 0


def numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    choices=st.lists(BLOCKS, min_size=1, max_size=4),
    flat=st.booleans(),
    cat=st.booleans(),
    dead=st.sampled_from([0.2, 0.5, 0.9]),
    seed=st.integers(0, 999),
)
def test_outputs_stay(
    choices: list[dict[str, Any]], flat: bool, cat: bool, dead: float, seed: int
) -> None:
    model = Net(choices, flat, cat).double()
    randomize(model, dead, seed)
    before = copy.deepcopy(model.state_dict())
    found = compact(model, torch.randn(2, 2, 33, 32, dtype=torch.float64), tolerance=EXACT)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    # On pictures, and of a size, that it has not seen; flat nets take any size as well.
    pictures = torch.randn(3, 2, 35, 40, dtype=torch.float64)
    with torch.no_grad():
        error = largest_error([found.model(pictures)], [model.eval()(pictures)])
    assert error < EXACT
    assert found.after.total.params == numbers(found.model) <= numbers(model)
    assert found.before.total.params == numbers(model)
    again = compact(found.model, pictures, tolerance=EXACT)
    assert again.layers == {}  # everything has been found at once


# Counted by hand ----------------------------------------------------------------------------------


def chain(bias: bool = False, padding: int = 1, norm: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=padding, bias=bias),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=padding),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ).double()


def of_chain(model: nn.Module) -> Compacted:
    return compact(model, torch.randn(2, 3, 8, 8, dtype=torch.float64), tolerance=EXACT)


def shapes(model: nn.Sequential) -> list[tuple[int, ...]]:
    return [tuple(model[place].weight.shape) for place in (0, 3, 7)]


def test_zero_filters_go() -> None:
    model = chain()
    model[0].weight.data[[1, 4]] = 0
    model[1].bias.data[[1, 4]] = -1.0  # below zero, so nothing passes the activation
    found = of_chain(model)
    assert shapes(found.model) == [(6, 3, 3, 3), (6, 6, 3, 3), (4, 6)]
    change = found.layers["3"]
    assert (change.inputs, change.outputs) == ((8, 6), (6, 6))
    assert change.params == (8 * 6 * 9 + 6, 6 * 6 * 9 + 6)
    assert change.flops == (2 * 64 * 8 * 6 * 9, 2 * 64 * 6 * 6 * 9)
    assert found.model[1].num_features == 6
    assert found.model[3].bias.equal(model[3].bias)


def test_constants_go_into_the_bias_where_nothing_is_padded() -> None:
    model = chain(padding=0)
    model[0].weight.data[[1, 4]] = 0
    model[1].bias.data[[1, 4]] = torch.tensor([0.5, 2.0], dtype=torch.float64)
    found = of_chain(model)
    assert shapes(found.model) == [(6, 3, 3, 3), (6, 6, 3, 3), (4, 6)]
    sums = model[3].weight.sum((2, 3))
    wanted = model[3].bias + 0.5 * sums[:, 1] + 2.0 * sums[:, 4]
    torch.testing.assert_close(found.model[3].bias, wanted)


def test_a_bias_is_made_where_there_was_none() -> None:
    model = chain(padding=0)
    model[3].bias = None
    model[0].weight.data[2] = 0
    model[1].bias.data[2] = 1.0
    found = of_chain(model)
    torch.testing.assert_close(found.model[3].bias, model[3].weight[:, 2].sum((1, 2)))


def test_constants_before_a_border_become_one() -> None:
    model = chain()
    model[0].weight.data[[1, 4, 5]] = 0
    model[1].bias.data[[1, 4, 5]] = torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64)
    found = of_chain(model)
    assert shapes(found.model) == [(6, 3, 3, 3), (6, 6, 3, 3), (4, 6)]
    weight = model[3].weight
    merged = weight[:, 4] + 0.25 * weight[:, 1] + 0.05 * weight[:, 5]
    torch.testing.assert_close(found.model[3].weight[:, 3], merged)


def test_a_folded_border_would_be_noticed() -> None:
    """The check that outputs agree tells a bias from a border."""
    model = chain(padding=0)
    model[0].weight.data[1] = 0
    model[1].bias.data[1] = 2.0
    small = of_chain(model).model
    small[3].padding = model[3].padding = (1, 1)
    pictures = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert largest_error([small(pictures)], [model.eval()(pictures)]) > 1e-3


def test_what_nobody_reads_goes_with_what_only_that_reads() -> None:
    model = chain()
    model[7].weight.data[:, [0, 5]] = 0  # so two outputs of 3 are not read
    model[3].weight.data[[1, 2, 3, 4], 6] = 0  # and 6 is read by these two alone
    found = of_chain(model)
    assert shapes(found.model) == [(7, 3, 3, 3), (4, 7, 3, 3), (4, 4)]


def test_a_collapsed_layer_keeps_one_channel() -> None:
    model = chain()
    model[3].weight.data.zero_()
    found = of_chain(model)
    assert shapes(found.model) == [(1, 3, 3, 3), (1, 1, 3, 3), (4, 1)]
    pictures = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert largest_error([found.model(pictures)], [model.eval()(pictures)]) < EXACT


def test_nothing_to_remove() -> None:
    model = chain(bias=True)
    found = of_chain(model)
    assert (found.layers, found.error) == ({}, 0)
    assert found.before.modules == found.after.modules
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_a_norm_without_scale_leaves_nothing_of_its_input() -> None:
    model = chain()
    model[1].weight.data[[2, 3]] = 0
    model[1].bias.data[[2, 3]] = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    found = of_chain(model)
    assert shapes(found.model)[0] == (7, 3, 3, 3)  # one constant stays, for the border


def test_unstructured_zeros_remove_nothing() -> None:
    model = chain()
    model[0].weight.data[:, :, 0] = 0
    model[3].weight.data[:, :, :, 1] = 0
    assert of_chain(model).layers == {}


class Stream(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.branch = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.branch(x).relu())


def test_a_stream_loses_what_all_writers_leave_constant() -> None:
    torch.manual_seed(0)
    model = Stream().double()
    model.branch.weight.data[[1, 2, 3]] = 0
    model.first.weight.data[[2, 3, 4]] = 0
    found = of_chain(model)
    assert found.model.first.weight.shape == (4, 3, 3, 3)  # 4 is written by the branch, 1 by first
    assert found.model.branch.weight.shape == (4, 4, 3, 3)
    assert found.model.last.weight.shape == (2, 4, 1, 1)


def test_a_stream_loses_what_nobody_reads() -> None:
    torch.manual_seed(0)
    model = Stream().double()
    model.last.weight.data[:, [0, 5]] = 0
    assert of_chain(model).layers == {}  # the branch still reads both
    model.branch.weight.data[:, 5] = 0
    assert of_chain(model).model.first.out_channels == 5


def test_depthwise_channels_go_and_other_groups_as_wholes() -> None:
    torch.manual_seed(0)
    for groups, left in ((6, 5), (3, 4)):
        model = nn.Sequential(
            nn.Conv2d(3, 6, 1, bias=False),
            nn.Conv2d(6, 12, 3, padding=1, groups=groups, bias=False),
            nn.Conv2d(12, 2, 1),
        ).double()
        per_group = 6 // groups
        model[1].weight.data[2 * per_group : 4 * per_group] = 0  # of the second group
        found = of_chain(model)
        assert (model[1].groups, found.model[1].groups) == (groups, groups - 1)
        assert found.model[0].out_channels == left
        assert found.model[1].weight.shape == (2 * left, per_group, 3, 3)


@pytest.mark.parametrize(
    ("pool", "width"),
    [
        (nn.AvgPool2d(3, 1, 1), 5),  # zeros come in at the border: no constant any more
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), 3),
        (nn.AvgPool2d(2, ceil_mode=True), 3),
        (nn.MaxPool2d(3, 2, 1), 3),
        (nn.ZeroPad2d(1), 5),
        (nn.ConstantPad2d(1, 0.5), 4),  # that of 0.5 stays one
        (nn.ReflectionPad2d(1), 3),
        (nn.ReplicationPad2d(1), 3),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 3),
        (nn.Hardtanh(-1, 0.5), 3),
        (nn.GELU(), 3),
    ],
)
def test_constants_that_depend_on_the_place(pool: nn.Module, width: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), pool, nn.Conv2d(5, 2, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).double()
    model[0].weight.data[[1, 3]] = 0
    model[0].bias.data[[1, 3]] = torch.tensor([0.5, -2.0], dtype=torch.float64)
    assert of_chain(model).model[0].out_channels == width


def test_what_is_left_alone() -> None:
    """Sizes that code counts on, norms over channels, shared weights."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split, self.normed, self.shared = (nn.Conv2d(8, 8, 1) for _ in range(3))
            self.norm = nn.GroupNorm(2, 8)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.split(x).split(4, dim=1)
            x = self.norm(self.normed(torch.cat([two, one], dim=1)))
            return self.shared(self.shared(x))

    model = Odd().double()
    for parameter in model.parameters():
        parameter.data[3] = 0
    found = compact(model, torch.randn(2, 8, 4, 4, dtype=torch.float64), tolerance=EXACT)
    assert found.layers == {}


# Against torch-pruning ----------------------------------------------------------------------------


def test_resnet_is_cut_as_torch_pruning_cuts_it() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).eval()
    dead = {f"layer{n}.{m}.conv1": range(n + m, 20 * n, 3) for n in (1, 2, 3, 4) for m in (0, 1)}
    for name, channels in dead.items():
        model.get_submodule(name).weight.data[list(channels)] = 0
    pictures = torch.randn(2, 3, 64, 64)
    found = compact(model, pictures)
    assert found.error < 1e-5
    other = copy.deepcopy(model)
    graph = torch_pruning.DependencyGraph().build_dependency(other, pictures)
    for name, channels in dead.items():
        layer = other.get_submodule(name)
        graph.get_pruning_group(
            layer, torch_pruning.prune_conv_out_channels, list(channels)
        ).prune()
    assert largest_error([found.model(pictures)], [other(pictures)]) < 1e-5
    assert {n: t.shape for n, t in found.model.state_dict().items()} == {
        n: t.shape for n, t in other.state_dict().items()
    }


@pytest.mark.parametrize(
    "arch",
    [
        "resnet18",
        *(
            pytest.param(arch, marks=pytest.mark.long)
            for arch in (
                "resnet50",
                "vgg11_bn",
                "alexnet",
                "mobilenet_v2",
                "mobilenet_v3_small",
                "resnext50_32x4d",
                "densenet121",
                "googlenet",
                "shufflenet_v2_x0_5",
                "efficientnet_b0",
                "convnext_tiny",
                "swin_t",
            )
        ),
    ],
)
def test_torchvision(arch: str) -> None:
    options = {"init_weights": False} if arch == "googlenet" else {}
    model = getattr(torchvision.models, arch)(num_classes=10, **options).double()
    randomize_like_trained(model)
    pictures = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    found = compact(model, pictures, tolerance=EXACT)
    others = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        wanted = model.eval()(others)
        assert largest_error([found.model(others)], [wanted]) < EXACT
        assert largest_error([wanted], [model(-others)]) > 1e-4  # it does look at its input
    # Of ResNeXt's groups no whole one is zero.
    assert bool(found.layers) != (arch == "resnext50_32x4d")


def randomize_like_trained(model: nn.Module) -> None:
    """A quarter of every second layer's filters is zero; norms know what comes to them."""
    generator = torch.Generator().manual_seed(0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for module in (*convolutions[1::2], *linear[:-1:2]):
        module.weight.data[torch.rand(len(module.weight), generator=generator) < 0.25] = 0
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data = 0.1 * torch.randn(
                module.bias.shape, generator=generator, dtype=torch.float64
            )
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64, generator=generator, dtype=torch.float64))


# Files and errors ---------------------------------------------------------------------------------


def test_a_file_can_be_loaded_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, groups=6, bias=False),
        nn.Conv2d(6, 2, 3, bias=False),
    )
    randomize(model, 0.0, seed=1)
    model[2].weight.data[[1, 4]] = 0
    model[1].weight.data[[1, 4]] = 0
    found = compact(model, torch.randn(2, 3, 9, 9))
    assert found.layers
    compaction.save(tmp_path / "small", found.model, {"of": "a test"})
    again = copy.deepcopy(model)
    assert compaction.load(tmp_path / "small", again) == {"of": "a test"}
    pictures = torch.randn(2, 3, 9, 9)
    assert torch.equal(again(pictures), found.model(pictures))
    assert [repr(m) for m in again.modules()] == [repr(m) for m in found.model.modules()]
    with pytest.raises(CheckpointError, match=r"does not fit Sequential: .*build the model"):
        compaction.load(tmp_path / "small", nn.Sequential(nn.Conv2d(3, 5, 1)))
    data = bytearray((tmp_path / "small").read_bytes())
    data[-3] ^= 1
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        compaction.load(tmp_path / "damaged", copy.deepcopy(model))


def test_code_that_counts_on_a_width_is_an_error() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4 * 9, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).view(-1, 36))

    model = Fixed()
    model.conv.weight.data[1] = 0
    with pytest.raises(ExactnessError, match="Fixed does not run with fewer channels"):
        compact(model, torch.randn(1, 3, 3, 3))


def test_a_pass_that_cannot_be_traced_is_an_error() -> None:
    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ConfigError, match="Deciding cannot be traced"):
        compact(Deciding(), torch.randn(1, 3, 3, 3))
