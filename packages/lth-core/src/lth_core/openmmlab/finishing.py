"""Ends a level's training once its mask is settled: ``imp.finish``."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from lth_core.errors import RunError
from lth_core.imp import Level, Point
from lth_core.imp.directory import level_directory, read_receipt, seal, write
from lth_core.imp.finish import Check, Finish, compare
from lth_core.openmmlab.levels import iteration_at
from lth_core.scope import locate, unwrap

FINISH_KEY = "lth_finish"
"""Key of a checkpoint under which the state of the checks travels."""

RATES = "rates.json"
"""File in level 0's directory: the sum of its learning rates, which later levels will spend too."""


class FinishHook(Hook):
    """Checks a level's weights now and then, and ends its training when they meet the rule.

    The training's end is moved to where it is, so that whatever happens at an end happens: the
    last checkpoint, the last validation, other hooks' ``after_train``. An epoch is not cut short.
    Level 0 trains in full, and counts the learning rates that later ones will spend.

    Args:
        level: The level.
        rule: When it ends.
        amount: Fraction of the remaining weights that a prune removes.

    Attributes:
        finished: Of a level that has ended early: where and why; else None.
    """

    priority = "NORMAL"  # before checkpoints are saved, which hold what has been decided

    def __init__(self, level: Level, rule: Finish, amount: float) -> None:
        self.level = level
        self.rule = rule
        self.amount = amount
        self.finished: dict[str, Any] | None = None
        self._spent = 0.0  # sum of learning rates, over iterations and groups
        self._spent_before = 0.0
        self._before: Tensor | None = None
        self._row = 0
        self._total = 0.0

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes over where the checks stood."""
        state = checkpoint.pop(FINISH_KEY, None)
        if runner._resume and state is not None:
            self._spent, self._spent_before = state["spent"], state["spent_before"]
            self._before, self._row = state["before"], state["row"]
            self.finished = state["finished"]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keeps where the checks stand."""
        checkpoint[FINISH_KEY] = {
            "spent": self._spent,
            "spent_before": self._spent_before,
            "before": self._before,
            "row": self._row,
            "finished": self.finished,
        }

    def before_train(self, runner: Runner) -> None:
        """Reads how much learning rate there is; ends a resumed training that had ended.

        Raises:
            RunError: If level 0 has not left it.
        """
        if self.level.index > 0:
            path = level_directory(self.level.directory.parent, 0) / RATES
            try:
                self._total = float(read_receipt(path)["rates"])
            except RunError:
                raise RunError(
                    f"{path} is missing or damaged; remove {path.parent / 'metrics.json'} and run "
                    "the same command to repeat level 0"
                ) from None
        if self.finished is not None:
            self._end(runner)

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Counts the learning rates that are about to be spent."""
        rates = runner.optim_wrapper.get_lr()
        self._spent += sum(float(rate) for group in rates.values() for rate in group)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Checks, where a check is due."""
        if self.level.index == 0 or self.finished is not None:
            return
        done = runner.iter + 1
        if done % max(1, self._iteration(runner, self.rule.every)):
            return
        now = self._weights(runner)
        before, self._before = self._before, now
        spent, self._spent_before = self._spent - self._spent_before, self._spent
        if before is None:
            return
        check = self._check(before, now, spent)
        self._row = self._row + 1 if self.rule.met(check) else 0
        enough = self._row >= self.rule.checks
        if enough and done >= self._iteration(runner, self.rule.least):
            self._finish(runner, check)

    def after_train(self, runner: Runner) -> None:
        """Leaves to later levels what their schedules will spend."""
        if self.level.index == 0 and is_main_process():
            write(self.level.directory / RATES, seal({"rates": self._spent}))
        barrier()

    def _check(self, before: Tensor, now: Tensor, spent: float) -> Check:
        """Rank 0's numbers, on every rank."""
        found: list[Any] = [None]
        if is_main_process():
            left = max(0.0, self._total - self._spent)
            ratio = self.rule.safety * left / spent if spent > 0 else float("inf")
            found = [compare(before, now, self.amount, ratio)]
        broadcast_object_list(found, src=0)
        check: Check = found[0]
        return check

    def _finish(self, runner: Runner, check: Check) -> None:
        of = runner.max_iters
        self.finished = {"check": runner.iter + 1, "of": of}
        self._end(runner)
        if runner.max_iters == of:  # it was the last epoch
            self.finished = None
            return
        self.finished |= {
            "iteration": runner.max_iters,
            "type": self.rule.type,
            "changed": check.changed,
            "in_reach": check.in_reach,
        }
        runner.logger.info(
            f"lth: level {self.level.index} is finished after {runner.max_iters} of {of} "
            f"iterations: of the weights to remove {100 * check.changed:.2f} % changed "
            f"since the last check, "
            f"at most {100 * check.in_reach:.2f} % are in reach of the threshold; the numbers of "
            "this level are not those of a full training and are left out of the results"
        )

    def _end(self, runner: Runner) -> None:
        assert self.finished is not None
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            length = len(loop.dataloader)
            loop._max_epochs = -(-self.finished["check"] // length)
            loop._max_iters = loop._max_epochs * length
        else:
            loop._max_iters = self.finished["check"]

    def _iteration(self, runner: Runner, point: str) -> int:
        return iteration_at(runner, Point.parse(point))

    def _weights(self, runner: Runner) -> Tensor:
        """The remaining weights, in sorted order of names."""
        prefix, _ = locate(runner.model, self.level.masks)
        weights = dict(unwrap(runner.model).named_parameters())
        kept = [
            weights[prefix + name].detach().cpu()[self.level.masks[name].cpu()]
            for name in sorted(self.level.masks)
        ]
        return torch.cat(kept)
