from __future__ import annotations

import time

import pytest
from lth_core.clock import Clock


def test_time_belongs_to_the_innermost_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock()
    with clock.time("building"):  # at 0
        with clock.time("saving"):  # at 1
            pass  # until 3
        clock.turn("training")  # at 7; until 15, where the block ends
    assert clock.turn("pruning") is None  # at 31: nobody's until now
    assert clock.seconds == {"building": 1.0 + 4.0, "saving": 2.0, "training": 8.0}


def test_an_error_ends_a_kinds_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 5.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock()
    with pytest.raises(ValueError, match="no"), clock.time("saving"):
        raise ValueError("no")
    clock.turn("saving")
    assert clock.seconds == {"saving": 2.0}
