"""One level of an IMP chain as an mmengine training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

from lth_core.imp import Level, Point
from lth_core.openmmlab.hooks import MaskHook
from lth_core.openmmlab.pixels import warn_of_pixels
from lth_core.weights import read_state, restore, snapshot


class BeginAgain(Exception):  # noqa: N818  (no error, but a request to the chain)
    """A level cannot be gone on with."""


class LevelHook(MaskHook):
    """Trains one level of an IMP chain and, at level 0, keeps the weights to rewind to.

    Args:
        level: The level.
        rewind_at: Where in level 0's training the rewind point lies; None for its start.
        to_dense: Whether the rewind point is level 0's result: its best validated weights if
            their checkpoint is kept, else its last.
    """

    def __init__(self, level: Level, rewind_at: Point | None, to_dense: bool = False) -> None:
        super().__init__(level.masks)
        self.level = level
        self.rewind_at = rewind_at
        self.to_dense = to_dense

    def before_train(self, runner: Runner) -> None:
        """Rewinds and masks; proves that the level starts from where it should.

        Raises:
            BeginAgain: If a checkpoint lies behind the rewind point, whose weights are lost.
        """
        if self._resumed and self.level.index == 0 and not self.to_dense:
            passed = runner.iter > self._rewind_iteration(runner)
            if passed and not self.level.has_rewind():
                raise BeginAgain
        super().before_train(runner)
        if self.level.index > 0 and not self._resumed and self.link is not None:
            prefixes = (self.link.prefix, *self.link.twins)
            self.level.verify_start(snapshot(runner.model), prefixes)

    def start(self, runner: Runner) -> None:
        """Rewinds; at level 0, keeps the starting weights."""
        if self.level.index > 0:
            restore(runner.model, self.level.load_start())
            if self.level.carried is not None:
                take_over(runner, self.level.carried)
            return
        warn_of_pixels(runner)
        if not self.to_dense and self._rewind_iteration(runner) == 0:
            self._save_rewind(snapshot(runner.model))

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Keeps the weights at an early rewind point."""
        if self.level.index > 0 or self.rewind_at is None:
            return
        if runner.iter + 1 == self._rewind_iteration(runner):
            self._save_rewind(snapshot(runner.model))

    def after_train(self, runner: Runner) -> None:
        """Keeps the result of the dense training, if that is what to rewind to."""
        super().after_train(runner)
        if self.level.index == 0 and self.to_dense:
            best = runner.message_hub.runtime_info.get("best_ckpt")
            kept = best is not None and Path(best).is_file()
            self._save_rewind(read_state(best) if kept else snapshot(runner.model))

    def _rewind_iteration(self, runner: Runner) -> int:
        return 0 if self.rewind_at is None else iteration_at(runner, self.rewind_at)

    def _save_rewind(self, weights: Mapping[str, Tensor]) -> None:
        if is_main_process():
            self.level.save_rewind(weights)
        barrier()


def iteration_at(runner: Runner, point: Point) -> int:
    """Number of iterations of a runner's training before a point in it."""
    loop = runner.train_loop
    batches = getattr(loop.dataloader, "batch_sampler", None)
    batch = getattr(batches, "batch_size", None) or loop.dataloader.batch_size or 1
    return point.iteration(loop.max_iters, len(loop.dataloader), batch * get_world_size())


def hand_over(runner: Runner, what: tuple[str, ...]) -> dict[str, Any] | None:
    """What the next level takes over from a training that has ended.

    Args:
        runner: Its runner.
        what: Of :data:`lth_core.imp.settings.CARRIED`.

    Returns:
        By each of ``what``, plain data and tensors; None if that is nothing.
    """
    carried: dict[str, Any] = {}
    states = {name: wrapper.state_dict() for name, wrapper in _wrappers(runner)}
    if "optimizer" in what:
        carried["optimizer"] = {name: state["state"] for name, state in states.items()}
    if "schedule" in what:
        carried["schedule"] = {
            "groups": {name: state["param_groups"] for name, state in states.items()},
            "schedulers": [scheduler.state_dict() for scheduler in _schedulers(runner)],
        }
    return carried or None


def take_over(runner: Runner, carried: Mapping[str, Any]) -> None:
    """Sets a training that is about to begin to what the level before has handed over."""
    schedule = carried.get("schedule")
    for name, wrapper in _wrappers(runner):
        state = wrapper.state_dict()
        if "optimizer" in carried:
            state["state"] = carried["optimizer"][name]
        if schedule is not None:
            state["param_groups"] = schedule["groups"][name]
        wrapper.load_state_dict(state)
    if schedule is not None:
        for scheduler, state in zip(_schedulers(runner), schedule["schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _wrappers(runner: Runner) -> Iterator[tuple[str, OptimWrapper]]:
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        yield from runner.optim_wrapper.items()
    else:
        yield "", runner.optim_wrapper


def _schedulers(runner: Runner) -> list[Any]:
    found = runner.param_schedulers or []
    if isinstance(found, dict):
        return [scheduler for group in found.values() for scheduler in group]
    return list(found)
