"""Losses that are read late: whoever looks at the log's history finds mmengine's own numbers."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.late import LateBuffer, LateInfoHook, add_late
from mmengine.config import Config
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import get_priority

from .noisy import noisy_config
from .test_resuming import Break, BreakOffError
from .toy import ToyClassifier

TIMES = ("time", "data_time", "eta", "memory")


@MODELS.register_module(force=True)
class Talkative(ToyClassifier):
    """Logs numbers of several kinds, one of them not at each iteration."""

    def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        found = super().forward(*args, mode=mode, **kwargs)
        if mode != "loss":
            return found
        self.calls = getattr(self, "calls", 0) + 1
        found |= {"loss_half": found["loss"].bfloat16(), "double": found["loss"].double() / 3}
        if self.calls % 3 == 0:
            found["seldom"] = found["loss"] + 1
        return found


@HOOKS.register_module(force=True)
class StockInfoHook(RuntimeInfoHook):
    """mmengine's, by a name that is left alone."""


class Onlooker(Hook):
    """Reads the log's history in the middle, as other people's hooks do."""

    priority = "LOWEST"

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.seen: list[Any] = []

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if (runner.iter + 1) % self.interval:
            return
        hub = runner.message_hub
        self.seen.append(
            [
                hub.get_scalar("train/loss").current(),
                hub.get_scalar("train/loss").mean(2),
                hub.get_scalar("train/loss_half").statistics("max", 3),
                hub.log_scalars["train/double"].data[0].tolist(),
                hub.get_scalar("train/grad_norm").min(),
                list(hub.log_scalars),
            ]
        )


def config(work_dir: Path, loop: str = "epochs") -> Config:
    cfg = noisy_config(work_dir, loop)
    cfg.model.type = "Talkative"
    cfg.default_hooks.logger = {"type": "LoggerHook", "interval": 3}
    cfg.optim_wrapper.clip_grad = {"max_norm": 0.5}
    cfg.log_processor = {"by_epoch": cfg.train_cfg.by_epoch}
    return cfg


def outcome(cfg: Config, stock: bool, *hooks: Hook, breaks: bool = False) -> dict[str, Any]:
    """Everything that a training has logged."""
    cfg = copy.deepcopy(cfg)
    if stock:
        cfg.default_hooks.runtime_info = {"type": "StockInfoHook"}
    if breaks:
        with pytest.raises(BreakOffError):
            LTHRunner.from_cfg(cfg, (Break(10, "train"),)).train()
        cfg.resume = True
    runner = LTHRunner.from_cfg(cfg, hooks)
    kinds = [type(hook) for hook in runner.hooks]
    assert (LateInfoHook in kinds) != stock
    assert (StockInfoHook in kinds) == stock
    runner.train()
    history = {
        key: [values.tolist() for values in buffer.data]
        for key, buffer in runner.message_hub.log_scalars.items()
    }
    kinds_of = {key: b.data[0].dtype for key, b in runner.message_hub.log_scalars.items()}
    scalars = [
        {key: value for key, value in json.loads(line).items() if key not in TIMES}
        for path in sorted(Path(cfg.work_dir).glob("*/vis_data/scalars.json"))
        for line in path.read_text().splitlines()
    ]
    return {
        "keys": list(history),
        "history": {key: value for key, value in history.items() if "time" not in key},
        "kinds": kinds_of,
        "scalars": scalars,
        "seen": [hook.seen for hook in hooks if isinstance(hook, Onlooker)],
        "weights": {k: v.tolist() for k, v in runner.model.state_dict().items()},
    }


@pytest.mark.parametrize("breaks", [False, True], ids=["whole", "resumed"])
@pytest.mark.parametrize("looks", [1, 5])
@pytest.mark.parametrize("loop", ["epochs", "iterations"])
def test_the_log_is_mmengines_own(loop: str, looks: int, breaks: bool, tmp_path: Path) -> None:
    late = outcome(config(tmp_path / "late", loop), False, Onlooker(looks), breaks=breaks)
    stock = outcome(config(tmp_path / "stock", loop), True, Onlooker(looks), breaks=breaks)
    assert len(late["history"]["train/loss"][0]) == len(late["history"]["train/grad_norm"][0]) > 10
    assert len(late["scalars"]) > 3
    assert late["seen"][0]
    assert late == stock


def test_nobody_is_read_for_before_the_logger_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = []

    class Count(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
            waiting.append(len(runner.message_hub._log_scalars["train/loss"]._waiting))

    outcome(config(tmp_path), False, Onlooker(1), Count())
    assert waiting[:4] == [0, 0, 0, 0]  # an onlooker asks at each iteration
    waiting.clear()
    LTHRunner.from_cfg(config(tmp_path / "alone"), (Count(),)).train()
    assert waiting[:5] == [1, 2, 0, 1, 1]  # each third one is logged; epochs have four, then saved


NUMBERS = st.one_of(
    st.integers(-(2**40), 2**40),
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(width=16, allow_nan=False).map(lambda x: torch.tensor(x, dtype=torch.float16)),
    st.floats(width=32, allow_nan=False).map(lambda x: torch.tensor([x])),
    st.floats(allow_nan=False).map(lambda x: torch.tensor(x, dtype=torch.float64)),
    st.integers(-(2**40), 2**40).map(torch.tensor),
    st.floats(allow_nan=False).map(np.float64),
)


@given(st.lists(st.tuples(NUMBERS, st.booleans()), min_size=1, max_size=20), st.integers(1, 30))
def test_any_numbers_in_any_order(values: list[tuple[Any, bool]], length: int) -> None:
    late, stock = MessageHub("late"), MessageHub("stock")
    for value, looks in values:
        add_late(late, "x", value)
        stock.update_scalar("x", value)
        if late.get_scalar("x").max_length != length:
            late.get_scalar("x").max_length = stock.get_scalar("x").max_length = length
        if looks:
            assert late.get_scalar("x").current() == stock.get_scalar("x").current()
    for found in (late.get_scalar("x"), late.state_dict()["log_scalars"]["x"]):
        for mine, other in zip(found.data, stock.get_scalar("x").data, strict=True):
            assert mine.dtype == other.dtype
            assert mine.tolist() == other.tolist()


def test_a_copy_is_a_plain_history() -> None:
    buffer = LateBuffer()
    buffer.add(torch.tensor(0.1))
    for made in (copy.deepcopy(buffer), copy.copy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert type(made) is HistoryBuffer
        assert vars(made).keys() == vars(HistoryBuffer()).keys()
        assert made.data[0].tolist() == buffer.data[0].tolist() == [torch.tensor(0.1).item()]


def test_values_may_change_afterwards_and_graphs_are_let_go() -> None:
    value = torch.tensor(1.0, requires_grad=True) * 2
    buffer = LateBuffer()
    buffer.add(value)
    value.detach().fill_(5)
    assert not buffer._waiting[0].requires_grad
    assert buffer.current() == 2


def test_a_log_that_nobody_reads_does_not_pile_up() -> None:
    buffer = LateBuffer()
    for number in range(2500):
        buffer.add(torch.tensor(number))
    assert len(buffer._waiting) == 500
    assert buffer.data[0].tolist() == list(range(2500))


def test_what_is_no_number_is_refused_as_ever() -> None:
    with pytest.raises(AssertionError):
        add_late(MessageHub("hub"), "x", torch.zeros(2))


def test_a_hook_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    for value in (None, {"type": "RuntimeInfoHook", "priority": "HIGH"}):
        cfg = config(tmp_path)
        cfg.default_hooks.runtime_info = value
        found = [h for h in LTHRunner.from_cfg(cfg).hooks if isinstance(h, RuntimeInfoHook)]
        assert len(found) == (value is not None)
        assert all(
            type(hook) is LateInfoHook and get_priority(hook.priority) == 30 for hook in found
        )
