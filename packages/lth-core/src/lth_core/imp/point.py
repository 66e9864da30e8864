"""Points in training: where weights are taken that a run rewinds to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lth_core.errors import ConfigError

_MULTIPLES = {"": 1.0, "k": 1e3, "M": 1e6}
_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:(it|ep|%)|([kM]?)samples)")


@dataclass(frozen=True)
class Point:
    """A point in training: ``500it``, ``2ep``, ``3.84Msamples``, ``5%``.

    Paper A rewinds to 5 % of a training (section 3), paper B to a number of samples seen (table 1).

    Attributes:
        value: How many of the unit.
        unit: ``"it"`` (iterations: batches, as runners count them), ``"ep"`` (epochs),
            ``"samples"`` (of the training data, over all processes) or ``"%"`` (of the training).
    """

    value: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Point:
        """Reads a point.

        Raises:
            ConfigError: If ``text`` is none.
        """
        match = _PATTERN.fullmatch(str(text))
        if match is None or (match[2] == "%" and float(match[1]) > 100):
            raise ConfigError(
                f"{text!r} is no point in training; write '500it', '2ep', '3.84Msamples' or '5%'"
            )
        if match[2]:
            return cls(float(match[1]), match[2])
        return cls(float(match[1]) * _MULTIPLES[match[3]], "samples")

    def iteration(self, total: int, per_epoch: int, batch: int = 1) -> int:
        """Number of iterations before the point, the nearest if it lies between two.

        Args:
            total: Iterations in the whole training.
            per_epoch: Iterations in one epoch.
            batch: Samples in one iteration, over all processes.
        """
        scale = {
            "it": 1.0,
            "ep": float(per_epoch),
            "samples": 1 / batch,
            "%": total / 100,
        }[self.unit]
        return round(min(self.value * scale, total))
