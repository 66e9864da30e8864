"""What criteria that run the model have in common: nothing is left of them in it."""

from __future__ import annotations

import math

import lth_core as lth
import pytest
import torch
import torch.nn.functional as F
from lth_core.criteria import SNIP, GraSP, SynFlow
from lth_core.errors import ConfigError, LTHError
from lth_core.scores import Criterion, get_criterion
from torch import Tensor, nn

from .helpers import MMLike, random_masks
from .test_criteria_exact import SIZE, masked, paths, problem

# ---------------------------------------------------------------------------------------------
# What the three have in common: nothing is left of them in the model


class Awkward(nn.Module):
    """Dropout, norms in mixed modes, a frozen layer, a shared weight and work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.SyncBatchNorm(4)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.twice.weight = self.conv2.weight
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(4, 5)
        self.conv1.requires_grad_(False)
        self.bn2.eval()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.act(self.bn1(self.conv1(x)))
        x = self.bn2(self.twice(self.conv2(x)))
        return self.fc(self.drop(self.act(x)).mean((2, 3)))

    def train(self, mode: bool = True) -> Awkward:
        super().train(mode)
        self.bn2.eval()  # as OpenMMLab's norm_eval
        self.fc.bias.requires_grad_(False)  # as its frozen_stages
        return self


def everything(model: nn.Module):
    """All that could have changed, to the bit."""
    tensors = {
        **{f"p {n}": p for n, p in model.named_parameters(remove_duplicate=False)},
        **{f"g {n}": p.grad for n, p in model.named_parameters() if p.grad is not None},
        **dict(model.named_buffers()),
    }
    return (
        {n: (id(t), t._version, t.detach().numpy().tobytes()) for n, t in tensors.items()},
        [p.requires_grad for p in model.parameters()],
        [module.training for module in model.modules()],
        [
            (len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m)))
            for m in model.modules()
        ],
        torch.get_rng_state().numpy().tobytes(),
    )


def some_batches(count: int = 2):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 3, 6, 6, generator=generator), torch.arange(4) % 5) for _ in range(count)
    ]


def failing_loss(outputs, targets):
    raise ZeroDivisionError


CRITERIA = {
    "magnitude": lambda: "magnitude",
    "random": lambda: get_criterion("random"),
    "snip": lambda: SNIP(some_batches(), F.cross_entropy),
    "grasp": lambda: GraSP(some_batches(), F.cross_entropy),
    "synflow": lambda: SynFlow((3, 6, 6), steps=5),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CRITERIA)
def test_the_model_is_left_alone(name, training):
    torch.manual_seed(0)
    model = Awkward().train(training)
    model.bn1.train(not training)
    model.fc.bias.requires_grad_(True)
    F.cross_entropy(model(some_batches()[0][0]), some_batches()[0][1]).backward()
    masks = random_masks(model, 0.8, stem=True)
    criterion = CRITERIA[name]()
    generator = torch.Generator().manual_seed(5)
    before, digest = everything(model), masks.digest()
    after = lth.prune(model, masks, 0.3, criterion, generator=generator)
    assert everything(model) == before
    assert masks.digest() == digest
    assert after.issubset(masks)
    assert after.kept == masks.kept - round(0.3 * masks.kept)


@pytest.mark.parametrize("made", [SNIP, GraSP])
def test_the_model_is_left_alone_when_the_loss_fails(made):
    model = Awkward().eval()
    before = everything(model)
    with pytest.raises(ZeroDivisionError):
        lth.prune(model, random_masks(model), 0.3, made(some_batches(), failing_loss))
    assert everything(model) == before


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_what_is_pruned_already_does_not_count(name):
    """Neither its value, be it NaN, nor its slope: as if it were zero in the model itself."""
    torch.manual_seed(0)
    model = Awkward()
    masks = random_masks(model, 0.5)
    reference = masked(model, masks)
    for key, mask in masks.items():
        model.get_parameter(key).data[~mask] = float("nan")
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    expected = lth.prune(reference, masks, 0.4, CRITERIA[name](), generator=seeds[0])
    assert lth.prune(model, masks, 0.4, CRITERIA[name](), generator=seeds[1]) == expected
    assert expected.issubset(masks)


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_dropout_follows_the_generator(name):
    torch.manual_seed(0)
    model = Awkward()
    masks = random_masks(model)

    def drawn(seed):
        torch.manual_seed(seed + 100)  # is not what decides
        generator = torch.Generator().manual_seed(seed)
        return lth.prune(model, masks, 0.5, CRITERIA[name](), generator=generator)

    assert drawn(1) == drawn(1)
    assert any(drawn(1) != drawn(seed) for seed in (2, 3, 4))


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_masks_relative_to_the_backbone_and_wrapped_models(name):
    torch.manual_seed(0)
    model = MMLike()
    relative = random_masks(model.backbone)
    criterion = CRITERIA[name]()
    expected = lth.prune(model, relative.with_prefix("backbone."), 0.5, criterion)
    assert lth.prune(nn.DataParallel(model), relative, 0.5, criterion) == expected.without_prefix(
        "backbone."
    )


def test_another_way_to_run_the_model():
    """As OpenMMLab's models, which take a dict and give a dict of losses."""
    model, batches, masks = problem()

    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = model

        def forward(self, inputs, labels):
            return {"loss": F.cross_entropy(self.backbone(inputs), labels)}

    snip = SNIP(
        [({"inputs": x, "labels": y}, None) for x, y in batches],
        loss=lambda losses, _: sum(losses.values()),
        forward=lambda model, data: model(**data),
    )
    expected = lth.prune(model, masks, 0.3, SNIP(batches, F.cross_entropy))
    assert lth.prune(WithLoss(), masks, 0.3, snip) == expected


def test_allocations_hold_for_criteria_in_steps():
    model, masks = paths(1.0)
    for how in ("uniform", "erk"):
        random = lth.prune(model, masks, 0.6, "random", how)
        synflow = lth.prune(model, masks, 0.6, SynFlow((1, SIZE, SIZE), 7), how)
        assert synflow.layer_sparsity() == random.layer_sparsity()
    assert lth.prune(model, masks, 1.0, SynFlow((1, SIZE, SIZE), 7)).kept == 0
    assert lth.prune(model, masks, 0.0, SynFlow((1, SIZE, SIZE), 7)) == masks


# ---------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(("name", "made"), [("snip", "SNIP"), ("grasp", "GraSP")])
def test_a_bare_name_without_data_says_how(name, made):
    model, _, masks = problem()
    with pytest.raises(
        ConfigError, match=rf"'{name}' needs data.*lth\.criteria\.{made}\("
    ) as error:
        lth.prune(model, masks, 0.2, name)
    assert "\n" not in str(error.value)
    assert hasattr(lth.criteria, made)


def test_weights_alone_are_not_enough():
    model, batches, masks = problem()
    weights = dict(model.state_dict())
    for criterion in (SNIP(batches, F.cross_entropy), GraSP(batches, F.cross_entropy), "synflow"):
        with pytest.raises(ConfigError, match="runs the model; give prune the model itself"):
            lth.prune(weights, masks, 0.2, criterion)


@pytest.mark.parametrize("made", [SNIP, GraSP])
def test_wrong_batches_and_losses_are_refused(made):
    model, batches, masks = problem()
    with pytest.raises(ConfigError, match="no batches"):
        made([], F.cross_entropy)
    with pytest.raises(ConfigError, match=r"a batch is Tensor; each must be \(inputs, targets\)"):
        made([batches[0][0]], F.cross_entropy)
    with pytest.raises(ConfigError, match=r"the loss is \(5, 3\)"):
        lth.prune(model, masks, 0.2, made(batches, lambda outputs, _: outputs))
    with pytest.raises(ConfigError, match="the loss is float"):
        lth.prune(model, masks, 0.2, made(batches, lambda outputs, _: 1.0))
    with pytest.raises(LTHError, match=r"scores of conv1\.weight hold NaN.*the data, the loss"):
        lth.prune(model, masks, 0.2, made(batches, lambda outputs, _: outputs.sum() * math.inf))


def test_what_is_no_criterion_is_refused():
    for wrong in ("magnitud", 3, None, SNIP):
        with pytest.raises(
            ConfigError, match="choose from grasp, magnitude, random, snip, synflow"
        ):
            get_criterion(wrong)


def test_one_pass_iterators_are_kept():
    """Pruning twice, and GraSP's two passes, see the same batches."""
    model, batches, masks = problem()
    for made in (SNIP, GraSP):
        criterion = made(iter(batches), F.cross_entropy)
        first = lth.prune(model, masks, 0.2, criterion)
        assert lth.prune(model, masks, 0.2, criterion) == first
        assert first == lth.prune(model, masks, 0.2, made(batches, F.cross_entropy))


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_a_model_that_is_run_without_gradients_is_refused(name):
    model = Awkward()

    def detached(model, x):
        return model(x).detach()

    made = {
        "snip": lambda: SNIP(some_batches(), F.cross_entropy, detached),
        "grasp": lambda: GraSP(some_batches(), F.cross_entropy, detached),
        "synflow": lambda: SynFlow((3, 6, 6), forward=detached),
    }[name]()
    before = everything(model)
    with pytest.raises(ConfigError, match="does not depend on the weights in scope"):
        lth.prune(model, random_masks(model), 0.2, made)
    assert everything(model) == before


def test_no_grad_outside_does_not_matter():
    model, batches, masks = problem()
    for made in (SNIP, GraSP):
        criterion = made(batches, F.cross_entropy)
        expected = lth.prune(model, masks, 0.4, criterion)
        with torch.no_grad():
            assert lth.prune(model, masks, 0.4, criterion) == expected


def test_grasp_and_second_derivatives():
    """A linear loss has none but zero, fused attention none at first, hardsigmoid none at all."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4)
    linear = nn.Linear(4, 4)
    ones = lth.MaskSet({"weight": torch.ones(4, 4, dtype=torch.bool)})
    grasp = GraSP([(x, None)], lambda out, _: out.sum())
    assert (
        lth.prune(linear, ones, 0.5, grasp)["weight"].flatten().tolist() == [False] * 8 + [True] * 8
    )

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(4, 4)

        def forward(self, x):
            query = self.query(x)[:, None]
            return F.scaled_dot_product_attention(query, query, query)

    masks = ones.with_prefix("query.")
    assert lth.prune(Attention(), masks, 0.5, grasp).kept == 8
    hard = nn.Sequential(linear, nn.Hardsigmoid())
    with pytest.raises(ConfigError, match=r"no second derivative .*hardsigmoid"):
        lth.prune(hard, ones.with_prefix("0."), 0.5, grasp)


def test_steps_go_down_by_equal_ratios():
    class Watched(Criterion):
        steps = 4

        def __init__(self) -> None:
            self.seen: list[int] = []

        def scores(self, subject, generator):
            self.seen.append(sum(int(mask.sum()) for mask in subject.masks.values()))
            return dict(subject.weights)

    masks = lth.MaskSet({"w": torch.ones(10_000, dtype=torch.bool)})
    watched = Watched()
    after = lth.prune({"w": torch.randn(10_000)}, masks, 0.9999, watched)
    assert [*watched.seen, after.kept] == [10_000, 1000, 100, 10, 1]
