"""Do two trainings from one ticket end in the same valley?

Linear mode connectivity (Frankle, Dziugaite, Roy and Carbin, 2020): the error along the straight
line between two solutions. Where it rises above its ends, training from that point is unstable,
and rewinding there finds no matching tickets: the measure behind the choice of a rewind point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lth_core.errors import ConfigError, MaskError


@dataclass(frozen=True)
class Connectivity:
    """Errors along the line between two solutions.

    Attributes:
        fractions: Places on the line, 0 the first solution and 1 the second.
        errors: The error at each.
    """

    fractions: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def instability(self) -> float:
        """Highest error on the line less the mean of its ends (Frankle et al., section 2)."""
        return max(self.errors) - (self.errors[0] + self.errors[-1]) / 2

    @property
    def barrier(self) -> float:
        """Highest error above the straight line between the ends' errors; 0 if none is above.

        Unlike :attr:`instability`, ends of unlike errors are no barrier by themselves.
        """
        first, last = self.errors[0], self.errors[-1]
        return max(
            error - (first + (last - first) * fraction)
            for fraction, error in zip(self.fractions, self.errors, strict=True)
        )


def interpolate(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], fraction: float
) -> dict[str, Tensor]:
    """The state dict at ``fraction`` of the way from ``one`` to ``other``.

    At 0 and 1 the ends themselves, bit for bit. What is not floating-point (counters) is taken
    from the nearer end.

    Raises:
        MaskError: If the two differ in names or shapes.
    """
    for name in sorted(one.keys() ^ other.keys()):
        raise MaskError(f"interpolate: {name} is in only one of the two state dicts")
    between = {}
    for name, start in one.items():
        end = other[name]
        if start.shape != end.shape:
            raise MaskError(f"interpolate: {name} is {tuple(start.shape)} and {tuple(end.shape)}")
        if fraction in (0, 1) or not start.is_floating_point():
            between[name] = (start if fraction < 0.5 else end).clone()
        else:
            between[name] = torch.lerp(start, end, fraction)
    return between


def connectivity(
    one: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    error: Callable[[dict[str, Tensor]], float],
    points: int = 11,
) -> Connectivity:
    """Measures the error along the line between two solutions.

    Running statistics of norms are interpolated like weights, which overstates barriers; an
    ``error`` that estimates them anew from training data first does better.

    Args:
        one: State dict of a training's end.
        other: Of another training from the same start.
        error: The error, or loss, of a model with a given state dict; smaller is better.
        points: Places on the line, both ends included.

    Raises:
        ConfigError: If there are fewer than three points.
        MaskError: If the state dicts do not fit each other.
    """
    if points < 3:
        raise ConfigError(f"connectivity: {points} points; both ends and one between them at least")
    fractions = tuple(k / (points - 1) for k in range(points))
    return Connectivity(fractions, tuple(error(interpolate(one, other, f)) for f in fractions))
