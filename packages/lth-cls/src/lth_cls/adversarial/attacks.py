"""Attacks within an L∞ ball around the pixels: projected gradient ascent (PGD) and one step of it.

Pixels run from 0 to 1, and so do ``eps`` and ``step_size``. The loop is lth's own, since it has to
climb any loss that a model is trained on (soft labels, several labels) and to leave the parameters
alone: foolbox calls ``backward()``, which gives every parameter a gradient, torchattacks sets the
model's mode and wants labels, ART goes through numpy. It does what foolbox's ``LinfPGD`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lth_core.errors import ConfigError
from lth_core.openmmlab.settings import plain, strict
from torch import Tensor

Loss = Callable[[Tensor], Tensor]
"""Of pixels ``(N, C, H, W)`` the loss of each image ``(N,)``, or one number for all of them."""


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent in the L∞ ball (Madry et al. 2018).

    Args:
        eps: Radius of the ball: how far a pixel may move.
        steps: Number of steps, each one forward and one backward pass.
        step_size: How far a pixel moves in a step.
        random_start: Whether to start at a uniformly drawn point of the ball, not at its centre.
        restarts: How often to start; of each image the point of highest loss is kept.

    Raises:
        ConfigError: If a field is out of range.
    """

    eps: float
    steps: int
    step_size: float
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self) -> None:
        if not _number(self.eps) or not 0 <= self.eps <= 1:
            hint = "; pixels run from 0 to 1: write 8/255, not 8" if _number(self.eps) else ""
            raise ConfigError(f"attack.eps is {self.eps!r}; use a number from 0 to 1{hint}")
        if not _number(self.step_size) or not 0 <= self.step_size <= 1:
            raise ConfigError(
                f"attack.step_size is {self.step_size!r}; use a number from 0 to 1, as 2/255"
            )
        if self.eps > 0 and self.step_size == 0:
            raise ConfigError("attack.step_size is 0, so no step goes anywhere")
        for name in ("steps", "restarts"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"attack.{name} is {value!r}; use a whole number from 1")
        if not isinstance(self.random_start, bool):
            raise ConfigError(f"attack.random_start is {self.random_start!r}; use True or False")
        if self.restarts > 1 and not self.random_start:
            raise ConfigError(
                f"attack.restarts is {self.restarts}, but without a random start all are the same"
            )


@dataclass(frozen=True)
class FGSM(PGD):
    """One step of the sign of the gradient from a random start (Wong et al. 2020).

    With ``random_start=False`` and ``step_size=eps`` it is the method of Goodfellow et al. (2015).

    Args:
        eps: Radius of the ball: how far a pixel may move.
        step_size: How far a pixel moves; by default 1.25 times ``eps``.
        random_start: Whether to start at a uniformly drawn point of the ball, not at its centre.
        restarts: How often to start; of each image the point of highest loss is kept.

    Raises:
        ConfigError: If a field is out of range.
    """

    steps: int = field(default=1, init=False)
    step_size: float = None  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if self.step_size is None:
            size = min(1.25 * self.eps, 1.0) if _number(self.eps) else 0.0
            object.__setattr__(self, "step_size", size)
        super().__post_init__()


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "pgd-3": {"type": "PGD", "eps": 8 / 255, "steps": 3, "step_size": 16 / (3 * 255)},
    "pgd-10": {"type": "PGD", "eps": 8 / 255, "steps": 10, "step_size": 2 / 255},
    "pgd-20": {"type": "PGD", "eps": 8 / 255, "steps": 20, "step_size": 2 / 255},
    "fast": {"type": "FGSM", "eps": 8 / 255},
}
"""Attacks by name: paper C's on ImageNet, downstream and in tests, and Wong et al.'s (2020)."""

_TYPES: Mapping[str, type[PGD]] = {"PGD": PGD, "FGSM": FGSM}


def parse_attack(value: Any, key: str = "attack") -> PGD:
    """The attack that a config asks for.

    Args:
        value: The name of one of :data:`PRESETS`, ``dict(preset='pgd-10', eps=4/255)`` to change
            fields of one, or ``dict(type='PGD', ...)`` or ``dict(type='FGSM', ...)`` with the
            fields of the class.
        key: What the reader knows it as.

    Raises:
        ConfigError: If it is none of these, or a field is unknown, missing or out of range.
    """
    if isinstance(value, PGD):
        return value
    if isinstance(value, str):
        value = {"preset": value}
    value = plain(value, key)
    if "preset" in value:
        if "type" in value:
            raise ConfigError(
                f"{key} has both preset and type; use one of them, with _delete_=True where a base "
                "file has the other"
            )
        value = {**_known(value.pop("preset"), PRESETS, f"{key}.preset"), **value}
    kind = _known(value.pop("type", "PGD"), _TYPES, f"{key}.type")
    return strict(kind, value, key)


def perturb(
    loss: Loss,
    pixels: Tensor,
    attack: PGD,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> Tensor:
    """Images within the ball around the given ones, of a loss as high as the attack finds.

    Each restart costs exactly ``attack.steps`` forward-backward passes, and with more than one
    restart one forward pass beyond, to compare them. Only the pixels take a gradient; parameters
    keep their ``grad`` and ``requires_grad``, and the mode of the model is the caller's business.

    Args:
        loss: What to climb. It must not mix images other than by batch norm.
        pixels: ``(N, C, H, W)`` float, from 0 to 1. Not changed.
        attack: What to do.
        generator: Where random starts are drawn from; by default the device's global stream. With
            one for each image, starts do not depend on what else is in the batch.

    Returns:
        A tensor as ``pixels``, without a graph, within [0, 1] and within ``eps`` of ``pixels`` up
        to the rounding of one addition.

    Raises:
        ValueError: With restarts, if the loss is not one number an image.
    """
    pixels = pixels.detach()
    low = (pixels - attack.eps).clamp_(0, 1)
    high = (pixels + attack.eps).clamp_(0, 1)
    best, highest = pixels, None
    for _ in range(attack.restarts):
        moved = pixels
        if attack.random_start:
            moved = (pixels + _noise(pixels, attack.eps, generator)).clamp(low, high)
        for _ in range(attack.steps):
            moved = moved.detach().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(loss(moved).sum(), moved)
            # A gradient that overflowed half precision has no sign; that pixel stays where it is.
            step = slope.sign().nan_to_num_().mul_(attack.step_size)
            moved = (moved.detach() + step).clamp_(low, high)
        if attack.restarts == 1:
            return moved
        with torch.no_grad():
            reached = loss(moved)
        if reached.shape != pixels.shape[:1]:
            raise ValueError(f"restarts need one loss an image, not a tensor {reached.shape}")
        if highest is None:
            best, highest = moved, reached
        else:
            better = reached > highest
            best = torch.where(better.view(-1, *[1] * (pixels.dim() - 1)), moved, best)
            highest = torch.maximum(reached, highest)
    return best


def _noise(
    pixels: Tensor, eps: float, generator: torch.Generator | Sequence[torch.Generator] | None
) -> Tensor:
    if isinstance(generator, Sequence):
        pairs = zip(pixels.split(1), generator, strict=True)
        return torch.cat([_noise(pixel, eps, each) for pixel, each in pairs])
    device = pixels.device if generator is None else generator.device
    noise = torch.empty(pixels.shape, dtype=pixels.dtype, device=device)
    return noise.uniform_(-eps, eps, generator=generator).to(pixels.device)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _known(name: Any, choices: Mapping[str, Any], key: str) -> Any:
    if not isinstance(name, str) or name not in choices:
        raise ConfigError(f"{key} is {name!r}; known: {', '.join(choices)}")
    return choices[name]
