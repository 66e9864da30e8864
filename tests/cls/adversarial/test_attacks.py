"""PGD against closed forms and foolbox, its bounds, and what a config may ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import eagerpy
import foolbox
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_cls.adversarial import FGSM, PGD, PRESETS, parse_attack, perturb
from lth_core.errors import ConfigError
from torch import nn
from torch.nn import functional as F

ROUNDING = 2**-24
"""Of one addition of numbers in [0, 1]: half a unit in the last place of 1."""


def network(seed: int = 0) -> nn.Sequential:
    """A small net of images ``(N, 2, 4, 4)`` with curved losses and no batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(96, 5)
        )


def images(count: int = 6, seed: int = 1) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    return torch.randint(0, 257, (count, 2, 4, 4), generator=noise) / 256


def each_loss(model: nn.Module, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda pixels: F.cross_entropy(model(pixels), labels, reduction="none")


@settings(deadline=None, max_examples=60)
@given(
    eps=st.floats(0, 1),
    step_size=st.floats(1e-3, 1),
    steps=st.integers(1, 4),
    random_start=st.booleans(),
    seed=st.integers(0, 10),
)
def test_never_leaves_the_ball_or_the_range_of_pixels(
    eps: float, step_size: float, steps: int, random_start: bool, seed: int
) -> None:
    clean = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    clean.view(-1)[:4] = torch.tensor([0.0, 1.0, 1e-8, 1 - 2**-24])
    given_pixels = clean.clone()
    found = perturb(
        each_loss(network(), torch.tensor([0, 1, 2])),
        clean,
        PGD(eps, steps, step_size, random_start),
    )
    assert torch.equal(clean, given_pixels)
    assert found.min() >= 0
    assert found.max() <= 1
    # In double precision, so that the check does not round itself.
    assert (found.double() - clean.double()).abs().max() <= eps + ROUNDING
    assert not found.requires_grad


@pytest.mark.parametrize("random_start", [False, True])
def test_the_ball_is_exact_where_its_bounds_are_representable(random_start: bool) -> None:
    clean, eps = images(32), 2**-5
    found = perturb(
        each_loss(network(), torch.arange(32) % 5), clean, PGD(eps, 6, 2**-6, random_start)
    )
    assert (found.double() - clean.double()).abs().max() == eps
    assert found.min() >= 0
    assert found.max() <= 1


def test_pixels_outside_the_range_by_rounding_come_back_into_it() -> None:
    clean = torch.full((1, 2, 4, 4), 1 + 2**-20)
    clean[:, 1] = -(2**-20)
    found = perturb(each_loss(network(), torch.tensor([0])), clean, PGD(0.1, 2, 0.05))
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_linear_loss_has_the_closed_form(steps: int) -> None:
    # Of <w, x> each pixel moves by steps * step_size, eps at most, towards the sign of w.
    weights = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(3))
    weights[0, 0, 0] = 0
    clean, eps, size = images(), 2**-4, 2**-6
    found = perturb(
        lambda pixels: (pixels * weights).sum((1, 2, 3)), clean, PGD(eps, steps, size, False)
    )
    expected = (clean + min(steps * size, eps) * weights.sign()).clamp(0, 1)
    assert torch.equal(found, expected)


def test_a_logistic_model_has_the_closed_form_from_any_start() -> None:
    # The loss of a linear classifier of two classes is highest in a corner of the ball, and enough
    # steps lead there from wherever they start.
    layer = nn.Linear(32, 2)
    labels, clean, eps = torch.tensor([0, 1, 0, 1, 1, 0]), images(), 2**-4
    found = perturb(
        each_loss(nn.Sequential(nn.Flatten(), layer), labels), clean, PGD(eps, 8, 2**-6)
    )
    towards = (layer.weight[1] - layer.weight[0]).detach().view(2, 4, 4).sign()
    way = torch.where(labels.view(-1, 1, 1, 1) == 0, towards, -towards)
    assert torch.equal(found, (clean + eps * way).clamp(0, 1))


class FromGivenStart(foolbox.attacks.LinfPGD):
    """foolbox's PGD with the random start that lth draws."""

    start: torch.Tensor

    def get_random_start(self, x0: eagerpy.Tensor, epsilon: float) -> eagerpy.Tensor:
        return x0 + eagerpy.astensor(self.start)


@pytest.mark.parametrize("name", ["fast", "pgd-3", "pgd-10", "pgd-20", "exact", "no start"])
def test_agrees_with_foolbox(name: str) -> None:
    attack = {
        "exact": PGD(2**-4, 7, 2**-6, random_start=False),
        "no start": PGD(0.05, 7, 0.01, random_start=False),
    }.get(name) or parse_attack(name)
    clean, labels = images(16), torch.arange(16) % 5
    model = network().eval()
    found = perturb(each_loss(model, labels), clean, attack, torch.Generator().manual_seed(5))
    theirs = FromGivenStart(
        abs_stepsize=attack.step_size, steps=attack.steps, random_start=attack.random_start
    )
    theirs.start = torch.empty(clean.shape).uniform_(
        -attack.eps, attack.eps, generator=torch.Generator().manual_seed(5)
    )
    judge = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    expected = theirs.run(
        judge, clean, foolbox.criteria.Misclassification(labels), epsilon=attack.eps
    )
    if name == "exact":  # every sum is a number of its own: nothing is rounded
        assert torch.equal(found, expected)
    assert (found - expected).abs().max() <= 4 * ROUNDING
    assert (found - clean).abs().max() > 0.9 * attack.eps


def test_more_steps_raise_the_loss_on_average() -> None:
    labels, clean = torch.arange(64) % 5, images(64)
    loss = each_loss(network(), labels)
    means = [loss(clean).mean().item()]
    for steps in (1, 2, 4, 8, 16):
        found = perturb(loss, clean, PGD(0.1, steps, 0.02, random_start=False))
        means.append(loss(found).mean().item())
    assert means == sorted(means)
    assert means[-1] > means[1] > means[0]


def test_the_seed_decides() -> None:
    loss, attack = each_loss(network(), torch.arange(6) % 5), PGD(0.1, 2, 0.01)

    def found(seed: int) -> torch.Tensor:
        return perturb(loss, images(), attack, torch.Generator().manual_seed(seed))

    assert torch.equal(found(1), found(1))
    assert not torch.equal(found(1), found(2))
    torch.manual_seed(1)
    assert torch.equal(perturb(loss, images(), attack), found(1)), "the global stream, else"


def test_restarts_keep_the_worst_of_each_image() -> None:
    attack = PGD(0.3, 1, 0.01, restarts=5)
    clean, loss = images(12), each_loss(network(), torch.arange(12) % 5)
    kept = loss(perturb(loss, clean, attack, torch.Generator().manual_seed(4)))
    stream = torch.Generator().manual_seed(4)
    singles = torch.stack([loss(perturb(loss, clean, PGD(0.3, 1, 0.01), stream)) for _ in range(5)])
    assert torch.equal(kept, singles.max(0).values)
    assert len(singles.argmax(0).unique()) > 1, "different images, different restarts"


def test_restarts_of_a_loss_that_is_one_number_are_refused() -> None:
    attack = PGD(0.1, 1, 0.1, restarts=2)
    with pytest.raises(ValueError, match="one loss an image"):
        perturb(lambda pixels: pixels.sum(), images(), attack)


@pytest.mark.parametrize(("restarts", "steps"), [(1, 1), (1, 10), (3, 2)])
def test_the_passes_are_counted(restarts: int, steps: int) -> None:
    model, passes = network(), {"forward": 0, "backward": 0}

    def backward(grad: torch.Tensor) -> None:
        passes["backward"] += 1

    def loss(pixels: torch.Tensor) -> torch.Tensor:
        passes["forward"] += 1
        result = each_loss(model, torch.arange(6) % 5)(pixels)
        if result.requires_grad:
            result.register_hook(backward)
        return result

    perturb(loss, images(), PGD(0.1, steps, 0.1, restarts=restarts))
    compared = restarts if restarts > 1 else 0
    assert passes == {"forward": restarts * steps + compared, "backward": restarts * steps}


@pytest.mark.parametrize("outer", [torch.enable_grad, torch.no_grad])
def test_parameters_are_left_alone(outer: Callable[[], Any]) -> None:
    model = network()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[3].bias.requires_grad_(False)
    model[3].weight.register_post_accumulate_grad_hook(lambda _: pytest.fail("a gradient"))
    with outer():
        perturb(each_loss(model, torch.arange(6) % 5), images(), PGD(0.1, 3, 0.1))
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[0].bias.grad is None
    assert model[3].weight.grad is None
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, False]


def test_an_overflown_gradient_moves_nothing_else() -> None:
    clean, eps = images(2), 2**-4
    scale = torch.ones(2, 1, 1, 1)
    scale[0] = float("nan")
    found = perturb(lambda pixels: (pixels * scale).sum((1, 2, 3)), clean, PGD(eps, 1, eps, False))
    assert torch.equal(found[0], clean[0])
    assert torch.equal(found[1], (clean[1] + eps).clamp(max=1))


def test_presets_are_the_papers() -> None:
    assert parse_attack("pgd-3") == PGD(8 / 255, 3, 16 / (3 * 255))
    assert parse_attack("pgd-10") == PGD(8 / 255, 10, 2 / 255)
    assert parse_attack("pgd-20") == PGD(8 / 255, 20, 2 / 255)
    fast = parse_attack("fast")
    assert (fast.steps, fast.random_start) == (1, True)
    assert fast.step_size == pytest.approx(10 / 255)
    assert sorted(PRESETS) == ["fast", "pgd-10", "pgd-20", "pgd-3"]


def test_configs_name_attacks() -> None:
    assert parse_attack({"preset": "pgd-10", "eps": 4 / 255}) == PGD(4 / 255, 10, 2 / 255)
    assert parse_attack({"preset": "fast", "eps": 0.02}).step_size == pytest.approx(0.025)
    assert parse_attack(
        {"type": "FGSM", "eps": 0.1, "step_size": 0.1, "random_start": False}
    ) == FGSM(0.1, 0.1, False)
    written = {
        "type": "PGD",
        "eps": 0.1,
        "steps": 2,
        "step_size": 0.1,
        "restarts": 3,
        "_scope_": "mmpretrain",
    }
    assert parse_attack(written) == PGD(0.1, 2, 0.1, restarts=3)
    assert parse_attack(PGD(0.1, 2, 0.1)) == PGD(0.1, 2, 0.1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("pgd-7", r"attack.preset is 'pgd-7'; known: pgd-3, pgd-10, pgd-20, fast"),
        (None, r"attack is None; it must be a dict"),
        ({"preset": "fast", "type": "PGD"}, r"both preset and type"),
        ({"type": "CW", "eps": 0.1}, r"attack.type is 'CW'; known: PGD, FGSM"),
        ({"preset": "pgd-3", "step": 3}, r"no field 'step'; did you mean 'step.*'"),
        ({"preset": "fast", "steps": 3}, r"attack has no field 'steps'"),
        ({"eps": 0.1, "steps": 3}, r"attack needs the field 'step_size'"),
        ({"preset": "pgd-3", "eps": -0.1}, r"attack.eps is -0.1; use a number from 0 to 1"),
        ({"preset": "pgd-3", "eps": 8}, r"attack.eps is 8; .*write 8/255"),
        ({"preset": "fast", "eps": "8/255"}, r"attack.eps is '8/255'"),
        ({"preset": "pgd-3", "eps": float("nan")}, r"attack.eps is nan"),
        ({"preset": "pgd-3", "steps": 0}, r"attack.steps is 0; use a whole number from 1"),
        ({"preset": "pgd-3", "steps": True}, r"attack.steps is True"),
        ({"preset": "pgd-3", "step_size": 0}, r"no step goes anywhere"),
        ({"preset": "pgd-3", "step_size": 2}, r"attack.step_size is 2"),
        ({"preset": "pgd-3", "restarts": 0}, r"attack.restarts is 0"),
        ({"preset": "pgd-3", "random_start": "no"}, r"attack.random_start is 'no'"),
        ({"preset": "pgd-3", "restarts": 2, "random_start": False}, r"without a random start"),
    ],
)
def test_wrong_attacks_are_refused_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_attack(value)
    assert "\n" not in str(caught.value)
