"""The rule by which a level of a chain is finished."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_core.errors import ConfigError
from lth_core.imp.finish import Check, Finish, compare, removal
from lth_core.imp.settings import IMPSettings
from lth_core.masks import MaskSet
from lth_core.pruning import prune


def test_closed_form() -> None:
    before = torch.tensor([0.1, -0.2, 0.3, -0.6, 0.8])
    now = torch.tensor([0.3, -0.2, 0.1, -0.6, 0.8])
    # Two of five go: 0.2 and 0.1 now, 0.1 and 0.2 before: weight 2 is new. The threshold stays at
    # 0.25; weights 0 and 2 have moved by 0.2, the others not.
    assert compare(before, now, 0.4, 0.0) == Check(0.5, 0.0)
    assert compare(before, now, 0.4, 0.2) == Check(0.5, 0.0)  # 0 is in reach, but 2 is not: no swap
    assert compare(before, now, 0.4, 0.8) == Check(0.5, 0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.2, 0.5]))
def test_removal_is_what_prune_removes(seed: int, amount: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    weights = {"b": torch.randn(7, generator=draw).round(decimals=1), "a": torch.ones(3)}
    masks = MaskSet({name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()})
    pruned = prune(weights, masks, amount)
    wanted = torch.cat([~pruned[name] for name in sorted(weights)])
    flat = torch.cat([weights[name] for name in sorted(weights)])
    assert torch.equal(removal(flat, round(amount * 10))[0], wanted)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3), st.floats(0, 3))
def test_nothing_moves_further_than_its_reach_then_the_bound_holds(
    seed: int, ratio: float, more: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    before = torch.randn(60, generator=draw, dtype=torch.float64)
    now = before + 0.1 * torch.randn(60, generator=draw, dtype=torch.float64)
    check = compare(before, now, 0.2, ratio)
    assert check.in_reach <= compare(before, now, 0.2, ratio + more).in_reach
    assert check.changed == compare(before, now, 0.2, ratio + more).changed
    reach = (now - before).abs() * ratio
    end = now + reach * (2 * torch.rand(60, generator=draw, dtype=torch.float64) - 1)
    removed_before, t_before = removal(before, 12)
    removed, t = removal(now, 12)
    last, t_end = removal(end, 12)
    assert check.changed == int((removed & ~removed_before).sum()) / 12
    if abs(t_end - t) <= abs(t - t_before) * ratio:
        assert int((last & ~removed).sum()) / 12 <= check.in_reach


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"type": "loss"}, "type"),
        ({"type": "mask", "tolerance": 1.0}, "tolerance"),
        ({"type": "mask", "tolerance": -0.1}, "tolerance"),
        ({"type": "mask", "checks": 0}, "checks"),
        ({"type": "mask", "safety": 2.0}, "safety"),
        ({"type": "reach", "safety": 0}, "safety"),
        ({"type": "mask", "every": "0ep"}, "every"),
        ({"type": "mask", "every": "often"}, "point"),
        ({"type": "mask", "least": "200%"}, "point"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Finish(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"rewind": "none"},
        {"rewind": "lr"},
        {"rewind": "init", "carry": ("optimizer",)},
        {"keep": ("queue",)},
        {"first_prune": "before"},
        {"criterion": "random"},
        {"allocation": "uniform"},
    ],
)
def test_what_depends_on_a_whole_training_is_refused(fields: dict[str, Any]) -> None:
    IMPSettings(2, **fields)
    with pytest.raises(ConfigError, match=r"imp\.finish needs"):
        IMPSettings(2, finish=Finish("mask"), **fields)
