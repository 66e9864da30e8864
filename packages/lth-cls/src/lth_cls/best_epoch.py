"""Test results at the best validation: one number for paper A, four for paper C."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_core.checkpoints import read_state
from lth_core.errors import ConfigError, RunError
from lth_core.files import write_atomic
from lth_core.openmmlab.recording import LastMetrics
from lth_core.weights import restore, snapshot
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

RESULT = "test_at_best_val.json"
"""File in the work directory: paper A's number."""

LEVEL_METRIC = "test_accuracy_at_best_val"
"""The number's name among the metrics of a level of an IMP chain."""

ROBUST_RESULT = "robust_best.json"
"""File in the work directory: paper C's four numbers."""


@dataclass(frozen=True)
class Best:
    """The weights that did best on validation.

    Attributes:
        epoch: After which they were, counted from 1.
        val: What they came to on validation.
        checkpoint: Their file.
        test: All metrics of the test with them.
    """

    epoch: int
    val: float
    checkpoint: Path
    test: dict[str, float]


class _BestHook(Hook):
    """After training, tests the weights that did best by each metric; the last ones stay.

    Args:
        metrics: Names of the metrics, as evaluators give them.
    """

    priority = "LOWEST"  # after whatever else looks at the trained weights

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self.metrics = metrics

    def before_train(self, runner: Runner) -> None:
        """Looks, before days of training, whether there will be anything to test.

        Raises:
            ConfigError: If a best checkpoint is not kept, or the config does not test.
            LTHError: If the test set is not there.
        """
        name = type(self).__name__
        missing = [metric for metric in self.metrics if metric not in _kept(runner)]
        if missing:
            wanted = self.metrics[0] if len(self.metrics) == 1 else list(self.metrics)
            raise ConfigError(
                f"{name} reports {missing[0]!r} at its best validation: set "
                f"default_hooks.checkpoint.save_best={wanted!r}"
            )
        if runner._val_loop is None or runner._test_loop is None:
            raise ConfigError(f"{name} needs the config to validate and to test")
        loop: Any = runner.train_loop
        end = loop.max_iters if isinstance(loop, IterBasedTrainLoop) else loop.max_epochs
        if loop.val_begin > end:
            raise ConfigError(
                f"{name} needs a validation, and the first is at {loop.val_begin} of {end}: set "
                "train_cfg.val_begin"
            )
        runner.test_loop  # noqa: B018  (built now, with its data set)

    def after_train(self, runner: Runner) -> None:
        """Tests the best weights, reports the results and puts the last weights back.

        Raises:
            RunError: If a best epoch's checkpoint is gone.
        """
        barrier()  # rank 0 may still be writing the file
        found: dict[str, Best] = {}
        for metric in self.metrics:
            checkpoint = _best_checkpoint(runner, metric)
            epoch = int(re.findall(r"_(\d+)\.pth$", checkpoint.name)[0])
            # The same epoch's weights are the same: tests under attack take their time.
            known = next((each.test for each in found.values() if each.epoch == epoch), None)
            test = _tested(runner, checkpoint) if known is None else known
            val = float(runner.message_hub.get_info(_key("best_score", metric, runner)))
            found[metric] = Best(epoch, val, checkpoint, test)
        self.report(runner, found)

    @abstractmethod
    def report(self, runner: Runner, found: Mapping[str, Best]) -> None:
        """Says what came out, by metric."""


@HOOKS.register_module()
class TestAtBestValHook(_BestHook):
    """After training, tests the weights that did best on validation, and reports that.

    Paper A, section A.3 (data details): the reported number is the test accuracy at the epoch of
    best validation accuracy, while pruning goes by the last epoch's weights, which the model has
    again afterwards. The result goes to the log, to ``test_at_best_val.json`` in the work
    directory and, in an IMP chain, to the metrics of the level as ``test_accuracy_at_best_val``.
    A training that was broken off gives the same when it is resumed, also after its last epoch.

    The best epoch's checkpoint is that of ``CheckpointHook``, so the config needs
    ``default_hooks.checkpoint.save_best`` (and, for resuming to be exact, ``interval=1``). Of equal
    epochs the first counts.

    Args:
        metric: Name of the metric that is compared and reported, as evaluators give it.
    """

    __test__ = False  # not one of pytest's

    def __init__(self, metric: str = "accuracy/top1") -> None:
        super().__init__((metric,))

    def report(self, runner: Runner, found: Mapping[str, Best]) -> None:
        """See the base class."""
        ((metric, best),) = found.items()
        test = best.test[metric]
        runner.logger.info(
            f"lth: {metric} {test:.2f} on the test set with the weights of epoch {best.epoch}, the "
            f"best on validation ({best.val:.2f})"
        )
        _keep(runner, {LEVEL_METRIC: test})
        result = {
            "metric": metric,
            "epoch": best.epoch,
            "val": best.val,
            "test": test,
            "all_test_metrics": best.test,
            "checkpoint": best.checkpoint.name,
        }
        _write(runner, RESULT, result)


@HOOKS.register_module()
class RobustBestHook(_BestHook):
    """After training, tests SA-best and RA-best weights for standard and robust accuracy.

    Paper C, section C.3: of the epochs the one with the best standard accuracy (SA) on validation
    and the one with the best robust accuracy (RA) are kept, and each is tested for both. The four
    numbers ``sa_best/SA``, ``sa_best/RA``, ``ra_best/SA`` and ``ra_best/RA`` go to the log, to the
    training's results (in an IMP chain, to the level's metrics) and, with epochs, to
    ``robust_best.json`` in the work directory. A training that was broken off gives the same when
    it is resumed, also after its last epoch.

    Both loops have to attack (``RobustValLoop`` and ``RobustTestLoop``), and
    ``default_hooks.checkpoint.save_best`` has to list both metrics. Which epochs count is up to
    ``train_cfg.val_begin``: in the paper's code CIFAR's are those from the 46th on.

    Args:
        sa: Name of the metric that is SA.
        ra: Name of the metric that is RA.
    """

    def __init__(self, sa: str = "accuracy/top1", ra: str = "accuracy/top1/pgd-20") -> None:
        super().__init__((sa, ra))

    def before_train(self, runner: Runner) -> None:
        """As the base class, and looks whether both loops attack."""
        super().before_train(runner)
        name = self.metrics[1].rpartition("/")[2]
        for kind, loop in (("val_cfg", runner.val_loop), ("test_cfg", runner.test_loop)):
            if name not in getattr(loop.evaluator, "attacks", ()):
                raise ConfigError(
                    f"RobustBestHook reports {self.metrics[1]!r}, and {kind} has no attack "
                    f"{name!r}: set {kind}.attacks"
                )

    def report(self, runner: Runner, found: Mapping[str, Best]) -> None:
        """See the base class."""
        numbers: dict[str, float] = {}
        result: dict[str, Any] = {}
        for name, (metric, best) in zip(("sa_best", "ra_best"), found.items(), strict=True):
            both = {k: best.test[m] for k, m in zip(("SA", "RA"), self.metrics, strict=True)}
            numbers |= {f"{name}/{k}": value for k, value in both.items()}
            result[name] = {
                "metric": metric,
                "epoch": best.epoch,
                "val": best.val,
                **both,
                "all_test_metrics": best.test,
                "checkpoint": best.checkpoint.name,
            }
            runner.logger.info(
                f"lth: {name} weights, of epoch {best.epoch} ({metric} {best.val:.2f} on "
                f"validation): SA {both['SA']:.2f}, RA {both['RA']:.2f} on the test set"
            )
        _keep(runner, numbers)
        _write(runner, ROBUST_RESULT, result)


def _keep(runner: Runner, numbers: Mapping[str, float]) -> None:
    """Adds numbers to what a training has come to."""
    for hook in runner.hooks:
        if isinstance(hook, LastMetrics):
            hook.last = {**hook.last, **numbers}


def _write(runner: Runner, name: str, result: Mapping[str, Any]) -> None:
    if is_main_process():
        write_atomic(Path(runner.work_dir) / name, json.dumps(result, indent=2) + "\n")


def _tested(runner: Runner, checkpoint: Path) -> dict[str, float]:
    """The test's metrics with a checkpoint's weights."""
    state = read_state(checkpoint)
    modules = _models(runner)
    last = [snapshot(module) for module in modules]
    training = runner.model.training
    try:
        for module in modules:
            restore(module, state)
        return {name: float(value) for name, value in runner.test_loop.run().items()}
    finally:
        for module, weights in zip(modules, last, strict=True):
            restore(module, weights)
        runner.model.train(training)


def _kept(runner: Runner) -> list[str]:
    """The metrics whose best checkpoints are kept."""
    saves = (runner.cfg.get("default_hooks") or {}).get("checkpoint") or {}
    kept = saves.get("save_best") or []
    return [kept] if isinstance(kept, str) else list(kept)


def _key(what: str, metric: str, runner: Runner) -> str:
    """What mmengine calls a best score or file: by its metric where there are several."""
    return what if len(_kept(runner)) == 1 else f"{what}_{metric}"


def _best_checkpoint(runner: Runner, metric: str) -> Path:
    known = runner.message_hub.runtime_info.get(_key("best_ckpt", metric, runner))
    # A work directory that was moved between two parts of a training still holds its files.
    here = Path(runner.work_dir) / Path(known or "none").name
    if known is None or not here.is_file():
        raise RunError(
            f"the checkpoint of the best validation is gone (looked for {here}); train again, or "
            "test another one with `lth test`"
        )
    return here


def _models(runner: Runner) -> list[nn.Module]:
    """The model, and averaged copies, which are what mmengine validates, saves and tests then."""
    averages = (getattr(getattr(h, "ema_model", None), "module", None) for h in runner.hooks)
    return [runner.model, *(average for average in averages if isinstance(average, nn.Module))]
