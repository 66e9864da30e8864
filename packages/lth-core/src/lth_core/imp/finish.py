"""When a level of a chain has trained long enough for its mask: ``imp.finish``.

What the next level needs of a level is its mask alone: which of the remaining weights are lowest.
Each check compares the weights with those at the check before. Two numbers come of it, both as
fractions of the weights that a prune would remove now:

``changed``
    How many of them a prune at the check before would have kept. This is what Early-Bird tickets
    look at (You et al., 2020). It is about the past: small numbers promise nothing of what comes.

``in_reach``
    How many of them may still change places. A weight's *reach* is how far it has moved since the
    check before, times the learning rates to come over those spent since then, times ``safety``;
    the reach of the threshold is made the same way. A weight whose distance to the threshold is
    more than both reaches together keeps its side. Each weight that leaves the removed ones makes
    another enter, so no more can change than there are in reach on the emptier side.

If no weight, nor the threshold, moves further than its reach, the final mask removes at least
``1 - in_reach`` of the weights that it would remove now. That is arithmetic; that nothing moves
further is an assumption, not a confidence level. Weights can: gradients change, momentum and
adaptive optimizers move them by other amounts than the rate says, and a weight that happened to
stand still has a reach of zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lth_core.errors import ConfigError
from lth_core.imp.point import Point
from lth_core.pruning import remove_lowest

KINDS = ("reach", "mask")
"""What a level's end is decided by: ``in_reach``, or ``changed``."""


@dataclass(frozen=True)
class Finish:
    """``imp.finish = dict(type="reach")``: levels may end before their schedule does.

    Args:
        type: One of :data:`KINDS`.
        tolerance: The largest fraction of the removed weights that may change.
        checks: How many checks in a row must be within the tolerance.
        every: Between two checks, as ``"1ep"``, ``"500it"`` or ``"5%"``.
        least: Where in the training the first check may end it.
        safety: With ``"reach"``: by what reaches are multiplied.

    Raises:
        ConfigError: If a value is out of range.
    """

    type: str
    tolerance: float = 0.01
    checks: int = 3
    every: str = "1ep"
    least: str = "25%"
    safety: float = 1.0

    def __post_init__(self) -> None:
        if self.type not in KINDS:
            raise ConfigError(f"imp.finish.type is {self.type!r}; choose from {', '.join(KINDS)}")
        if not _is_number(self.tolerance) or not 0 <= self.tolerance < 1:
            raise ConfigError(
                f"imp.finish.tolerance is {self.tolerance!r}; it must be at least 0 and below 1"
            )
        if type(self.checks) is not int or self.checks < 1:
            raise ConfigError(
                f"imp.finish.checks is {self.checks!r}; it must be a whole number >= 1"
            )
        if not _is_number(self.safety) or not 0 < self.safety < float("inf"):
            raise ConfigError(f"imp.finish.safety is {self.safety!r}; it must be above 0")
        if self.type != "reach" and self.safety != 1:
            raise ConfigError("imp.finish.safety goes with type='reach'")
        if Point.parse(self.every).value == 0:
            raise ConfigError(f"imp.finish.every is {self.every!r}; it must be above 0")
        Point.parse(self.least)

    def met(self, check: Check) -> bool:
        """Whether one check is within the tolerance."""
        number = check.in_reach if self.type == "reach" else check.changed
        return number <= self.tolerance


@dataclass(frozen=True)
class Check:
    """What two states of a level's weights say; see the module.

    Attributes:
        changed: Fraction of the weights to remove that were none of them before.
        in_reach: Fraction of them, at most, that may still change.
    """

    changed: float
    in_reach: float


def compare(before: Tensor, now: Tensor, amount: float, ratio: float) -> Check:
    """Compares the remaining weights with those at the check before.

    Args:
        before: Then, ``(n,)``, in sorted order of layers' names.
        now: Now, the same.
        amount: Fraction of them that a prune removes.
        ratio: Learning rates to come over those spent in between, times the safety factor.
    """
    count = round(amount * len(now))
    if not 0 < count < len(now):
        return Check(0.0, 0.0)
    removed_before, threshold_before = removal(before, count)
    removed, threshold = removal(now, count)
    changed = int((removed & ~removed_before).count_nonzero())
    reach = (now.double() - before.double()).abs() * ratio
    reach += abs(threshold - threshold_before) * ratio
    near = (now.double().abs() - threshold).abs() <= reach
    movable = min(int((near & removed).count_nonzero()), int((near & ~removed).count_nonzero()))
    return Check(changed / count, movable / count)


def removal(weights: Tensor, count: int) -> tuple[Tensor, float]:
    """Which weights a prune removes, and the magnitude halfway to the lowest that it keeps.

    Args:
        weights: ``(n,)``; ties go by position, as in :func:`lth_core.pruning.prune`.
        count: How many are removed: at least one, and not all.
    """
    magnitudes = weights.abs()
    every = torch.ones_like(magnitudes, dtype=torch.bool)
    kept = remove_lowest({"": magnitudes}, {"": every}, [""], count)[""]
    highest, lowest = magnitudes[~kept].max(), magnitudes[kept].min()
    return ~kept, (float(highest) + float(lowest)) / 2


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
