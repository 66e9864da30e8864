"""SNIP, GraSP and SynFlow against slow forms that share nothing with them."""

from __future__ import annotations

import copy
import itertools
import math

import lth_core as lth
import pytest
import torch
import torch.nn.functional as F
from lth_core.criteria import SNIP, GraSP, SynFlow
from lth_core.errors import ConfigError, LTHError
from lth_core.scores import Criterion, Subject
from torch import Tensor, nn

from .helpers import positions


class Tiny(nn.Module):
    """Two convolutions and a head, in float64, smooth so that slopes can be measured."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(3, 2, 2)
        self.fc = nn.Linear(2, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv2(torch.tanh(self.norm(self.conv1(x))))).mean((2, 3)))


NAMES = ("conv1.weight", "conv2.weight")


def problem(norm: bool = False, density: float = 0.7):
    torch.manual_seed(0)
    model = Tiny(norm)
    batches = [
        (torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.randint(3, (5,))) for _ in range(2)
    ]
    ones = lth.MaskSet.ones(model, NAMES)
    masks = ones.map(lambda mask: torch.rand(mask.shape) < density)
    return model, batches, masks


def masked(model: nn.Module, masks: lth.MaskSet) -> nn.Module:
    """A copy whose pruned weights are zero."""
    model = copy.deepcopy(model)
    for name, mask in masks.items():
        model.get_parameter(name).data.mul_(mask)
    return model


def total_loss(model: nn.Module, batches, temperature: float = 1.0) -> Tensor:
    return sum(F.cross_entropy(model(x) / temperature, y) for x, y in batches)


def scores_of(criterion: Criterion, model: nn.Module, masks: lth.MaskSet) -> dict[str, Tensor]:
    weights = {name: model.get_parameter(name).detach() for name in masks}
    return criterion.scores(Subject(weights, masks, model), None)


def each(masks: lth.MaskSet):
    """Name and index of every weight, kept or not."""
    for name, mask in masks.items():
        for index in itertools.product(*map(range, mask.shape)):
            yield name, index


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        scale = value.abs().max()
        assert scale > 0
        assert (found[name] - value).abs().max() < tolerance * scale


# ---------------------------------------------------------------------------------------------
# SNIP


@pytest.mark.parametrize("norm", [False, True])
def test_snip_is_the_slope_in_a_factor_before_each_weight(norm):
    """Central differences of the loss, one weight at a time."""
    model, batches, masks = problem(norm)
    reference = masked(model, masks).train()
    expected = {name: torch.zeros(mask.shape, dtype=torch.float64) for name, mask in masks.items()}
    step = 1e-4
    with torch.no_grad():
        for name, index in each(masks):
            weight = reference.get_parameter(name)
            before = weight[index].item()
            ends = []
            for factor in (1 + step, 1 - step):
                weight[index] = before * factor
                ends.append(total_loss(reference, batches).item())
            weight[index] = before
            expected[name][index] = abs(ends[0] - ends[1]) / (2 * step)
    assert_close(scores_of(SNIP(batches, F.cross_entropy), model, masks), expected, 1e-6)


def test_snip_prunes_the_flattest_first():
    model, batches, masks = problem()
    snip = SNIP(batches, F.cross_entropy)
    scores = scores_of(snip, model, masks)
    after = lth.prune(model, masks, 0.4, snip)
    assert after.issubset(masks)
    assert after.kept == masks.kept - round(0.4 * masks.kept)
    ranked = sorted(positions(masks), key=lambda p: scores[p[0]].flatten()[p[1]].item())
    assert positions(after) == set(ranked[masks.kept - after.kept :])


def test_batches_add_up_before_the_absolute_value():
    """Slopes that cancel leave nothing, and the order of batches does not count."""
    model, batches, masks = problem()
    up = SNIP([(x, (y, sign)) for x, y in batches for sign in (1, -1)], signed_loss)
    assert all(score.abs().max() < 1e-15 for score in scores_of(up, model, masks).values())
    forth = scores_of(SNIP(batches, F.cross_entropy), model, masks)
    assert_close(scores_of(SNIP(batches[::-1], F.cross_entropy), model, masks), forth, 1e-12)


def signed_loss(outputs, targets):
    labels, sign = targets
    return sign * F.cross_entropy(outputs, labels)


# ---------------------------------------------------------------------------------------------
# GraSP


def flat_loss(model: nn.Module, masks: lth.MaskSet, batches, temperature: float):
    """The loss as a function of the kept weights in one vector, and that vector."""
    model = masked(model, masks).train()
    state = {name: p.detach() for name, p in model.named_parameters()}
    vector = torch.cat([state[name][mask] for name, mask in masks.items()])

    def loss(values: Tensor) -> Tensor:
        parts = values.split([int(mask.sum()) for mask in masks.values()])
        weights = {
            name: torch.zeros_like(state[name]).masked_scatter(mask, part)
            for (name, mask), part in zip(masks.items(), parts, strict=True)
        }
        made = {**state, **weights}
        total = 0.0
        for x, y in batches:
            x = F.conv2d(x, made["conv1.weight"], made["conv1.bias"], padding=1)
            if isinstance(model.norm, nn.BatchNorm2d):
                mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), False, keepdim=True)
                x = (x - mean) / (var + 1e-5).sqrt()
            x = torch.tanh(F.conv2d(torch.tanh(x), made["conv2.weight"], made["conv2.bias"]))
            outputs = x.mean((2, 3)) @ made["fc.weight"].T + made["fc.bias"]
            total = total + F.cross_entropy(outputs / temperature, y)
        return total

    return loss, vector


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_is_the_weight_times_hessian_times_gradient(norm, temperature):
    model, batches, masks = problem(norm)
    loss, vector = flat_loss(model, masks, batches, temperature)
    gradient = torch.autograd.functional.jacobian(loss, vector)
    hessian = torch.autograd.functional.hessian(loss, vector)
    product = (vector * (hessian @ gradient)).split([int(m.sum()) for m in masks.values()])
    expected = {
        name: torch.zeros(mask.shape, dtype=torch.float64).masked_scatter(mask, part)
        for (name, mask), part in zip(masks.items(), product, strict=True)
    }
    grasp = GraSP(batches, F.cross_entropy, temperature=temperature)
    assert_close(scores_of(grasp, model, masks), expected, 1e-9)


def test_grasp_removes_first_what_hurts_the_gradient_flow_least():
    """The sign: shrinking a weight of low score raises the gradient's norm, of high score not."""
    model, batches, masks = problem()
    loss, vector = flat_loss(model, masks, batches, 1.0)

    def flow(values: Tensor) -> float:
        return torch.autograd.functional.jacobian(loss, values).square().sum().item()

    shrink = 1e-4
    loss_of_flow = []
    for index in range(vector.numel()):
        shrunk = vector.clone()
        shrunk[index] *= 1 - shrink
        loss_of_flow.append(flow(vector) - flow(shrunk))
    grasp = GraSP(batches, F.cross_entropy, temperature=1)
    after = lth.prune(model, masks, 0.5, grasp)
    stays = torch.cat([after[name][mask] for name, mask in masks.items()])
    losses = torch.tensor(loss_of_flow)
    assert losses[~stays].max() < losses[stays].min()


def test_grasps_temperature_is_the_papers_and_needs_one_tensor():
    model, batches, masks = problem()
    assert GraSP(batches, F.cross_entropy).temperature == 200
    several = {"forward": lambda model, x: [model(x)], "loss": lambda out, y: out[0].sum()}
    with pytest.raises(ConfigError, match=r"list.*temperature=1"):
        lth.prune(model, masks, 0.2, GraSP(batches, **several))
    assert lth.prune(model, masks, 0.2, GraSP(batches, **several, temperature=1)).issubset(masks)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="must be above 0"):
            GraSP(batches, F.cross_entropy, temperature=wrong)


# ---------------------------------------------------------------------------------------------
# SynFlow


class Paths(nn.Module):
    """A 3×3 convolution, then a branch of two 1×1 convolutions beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(2)
        self.conv2 = nn.Conv2d(2, 3, 1, bias=False)
        self.gn = nn.GroupNorm(1, 3)
        self.conv3 = nn.Conv2d(3, 2, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = torch.relu_(self.bn1(self.conv1(x)))
        branch = self.conv3(self.drop(torch.relu_(self.gn(self.conv2(x)))))
        return x, {"out": torch.relu(branch + x)}


SIZE = 2


def path_scores(model: Paths, masks: lth.MaskSet) -> dict[str, Tensor]:
    """Adds, for every path from an input pixel to an output, its product to each weight on it."""
    weights = {
        name: model.get_parameter(name).detach().double() * mask for name, mask in masks.items()
    }
    scores = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def walk(edges: list[tuple[str, tuple[int, ...]]]) -> None:
        product = math.prod(abs(weights[name][index].item()) for name, index in edges)
        for name, index in edges:
            scores[name][index] += product

    pixels = list(itertools.product(range(SIZE), range(SIZE)))
    for (y, x), (v, u), out in itertools.product(pixels, pixels, range(2)):
        first = ("conv1.weight", (out, 0, v - y + 1, u - x + 1))
        walk([first])  # x itself is an output
        walk([first])  # and reaches the other one over the shortcut
        for middle, last in itertools.product(range(3), range(2)):
            second = ("conv2.weight", (middle, out, 0, 0))
            walk([first, second, ("conv3.weight", (last, middle, 0, 0))])
    return scores


def paths(density: float = 0.8) -> tuple[Paths, lth.MaskSet]:
    torch.manual_seed(0)
    model = Paths()
    with torch.no_grad():  # norms as training leaves them
        model.bn1.weight.copy_(torch.tensor([0.0, -2.0]))
        model.bn1.bias.fill_(3.0)
        model.bn1.running_mean.fill_(-1.5)
        model.bn1.running_var.fill_(7.0)
    ones = lth.MaskSet.ones(model, lth.prunable(model, stem=True))
    return model, ones.map(lambda mask: torch.rand(mask.shape) < density)


def test_synflow_adds_up_paths():
    model, masks = paths()
    found = scores_of(SynFlow((1, SIZE, SIZE)), model, masks)
    assert_close(found, path_scores(model, masks), 1e-12)
    assert all(score.dtype == torch.float64 for score in found.values())


def test_synflow_is_conserved_from_layer_to_layer():
    """The paper's theorem, for a chain: the scores of each layer add up to the same."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 8, 3, groups=2),
        nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(8, 4, 2),
    )  # fmt: skip
    masks = lth.MaskSet.ones(model, lth.prunable(model, stem=True))
    sums = [float(s.sum()) for s in scores_of(SynFlow((3, 9, 9)), model, masks).values()]
    assert len(sums) == 3
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_synflow_with_work_in_place_between_a_norm_and_a_shortcut():
    """Pre-activation blocks: what follows the norm must not write into the shortcut's input."""

    class Block(nn.Module):
        def __init__(self, norm: type[nn.Module]) -> None:
            super().__init__()
            self.norm = norm(2)
            self.conv1 = nn.Conv2d(2, 2, 1, bias=False)
            self.conv2 = nn.Conv2d(2, 2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            return self.conv2(self.norm(x).mul_(2)) + x

    class Plain(nn.Identity):
        def __init__(self, _: int) -> None:
            super().__init__()

        def forward(self, x: Tensor) -> Tensor:
            return x.clone()

    torch.manual_seed(0)
    model, plain = Block(nn.BatchNorm2d), Block(Plain)
    plain.load_state_dict(model.state_dict(), strict=False)
    masks = lth.MaskSet.ones(model, ("conv1.weight", "conv2.weight"))
    synflow = SynFlow((2, 1, 1))
    assert_close(scores_of(synflow, model, masks), scores_of(synflow, plain, masks), 1e-12)


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_synflow_prunes_in_steps_of_equal_ratio(steps):
    model, masks = paths()
    amount, kept = 0.7, masks.kept
    target = kept - round(amount * kept)
    expected = masks
    for step in range(1, steps + 1):
        scores = path_scores(model, expected)
        ranked = sorted(
            positions(expected), key=lambda p: (scores[p[0]].flatten()[p[1]].item(), *p)
        )
        size = round(kept * (target / kept) ** (step / steps))
        stay = set(ranked[len(ranked) - size :])
        expected = lth.MaskSet(
            {
                name: torch.tensor([(name, i) in stay for i in range(m.numel())]).reshape(m.shape)
                for name, m in expected.items()
            }
        )
    found = lth.prune(model, masks, amount, SynFlow((1, SIZE, SIZE), steps))
    assert found.kept == target
    assert found == expected


def test_many_steps_of_synflow_do_not_cut_layers_off():
    """Why the paper prunes in steps: at once, the widest layer's small scores all go together."""
    torch.manual_seed(0)
    widths = [1, 4, 64, 64, 4, 1]
    layers = [nn.Conv2d(i, o, 1, bias=False) for i, o in itertools.pairwise(widths)]
    model = nn.Sequential(*layers)
    masks = lth.MaskSet.ones(model, lth.prunable(model, stem=True))
    at_once = lth.prune(model, masks, 0.98, SynFlow((1, 1, 1), steps=1))
    in_steps = lth.prune(model, masks, 0.98, SynFlow((1, 1, 1)))
    assert at_once.kept == in_steps.kept
    assert not at_once["2.weight"].any()
    assert in_steps["2.weight"].sum() > 10
    assert all(score.sum() > 0 for score in scores_of(SynFlow((1, 1, 1)), model, in_steps).values())


def test_synflow_survives_where_float32_would_not():
    """Products over many layers leave float32 (10^38) long before float64 (10^308)."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(8, 8, 1, bias=False) for _ in range(60)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(30)
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    scores = scores_of(SynFlow((8, 1, 1)), model, masks)
    assert all(score.isfinite().all() for score in scores.values())
    assert all(score.max() > 1e38 for score in scores.values())
    for parameter in model.parameters():
        parameter.data.mul_(1e6)
    with pytest.raises(LTHError, match=r"scores of .* hold NaN or infinity.*number range"):
        lth.prune(model, masks, 0.2, SynFlow((8, 1, 1), steps=1))


def test_synflow_says_which_input_it_lacks():
    model, masks = paths()
    with pytest.raises(
        ConfigError, match=r"does not run on ones of shape \(1, 3, 224, 224\).*shape="
    ):
        lth.prune(model, masks, 0.2, "synflow")
    for arguments in ({"shape": (3, 0)}, {"shape": (3, 2.5)}, {"steps": 0}, {"steps": 1.5}):
        with pytest.raises(ConfigError, match="above 0"):
            SynFlow(**arguments)
    nothing = SynFlow((1, 2, 2), forward=lambda model, x: None)
    with pytest.raises(ConfigError, match="gives no tensor"):
        lth.prune(model, masks, 0.2, nothing)
