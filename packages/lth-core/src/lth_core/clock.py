"""Where the time of a run goes: wall time by kind of work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

KINDS = {
    "building": "runner, model, data sets, loaders, optimizer; reading what is finished already",
    "rewinding": "initialising or loading the model, masking it, proving where it starts",
    "training": "the training loop with its data loading, logging and hooks",
    "evaluating": "validations",
    "saving": "checkpoints, tickets, receipts, files of results",
    "pruning": "ranking the weights; the next mask",
}
"""What a level's time is spent on."""


class Clock:
    """Adds up wall time by kind of work; at each moment one kind's, or nobody's.

    A GPU's work is waited for when the kind changes, which is a few times in an epoch.

    Attributes:
        seconds: So far, of each of :data:`KINDS` that has had its turn.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._kind: str | None = None
        self._since = 0.0

    def turn(self, kind: str | None) -> str | None:
        """From now on it is ``kind``'s time.

        Returns:
            Whose it was.
        """
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now, before = time.perf_counter(), self._kind
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self._since
        self._kind, self._since = kind, now
        return before

    @contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """What runs inside is ``kind``'s time, but for turns that are taken there."""
        before = self.turn(kind)
        try:
            yield
        finally:
            self.turn(before)
