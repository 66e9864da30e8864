"""The number that paper A reports: test accuracy at the epoch of the best validation accuracy."""

from __future__ import annotations

import json
import re
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
from mmengine.runner import Runner
from torch import nn

RESULT = "test_at_best_val.json"
"""File in the work directory."""

LEVEL_METRIC = "test_accuracy_at_best_val"
"""The number's name among the metrics of a level of an IMP chain."""


@HOOKS.register_module()
class TestAtBestValHook(Hook):
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
    priority = "LOWEST"  # after whatever else looks at the trained weights

    def __init__(self, metric: str = "accuracy/top1") -> None:
        self.metric = metric

    def before_train(self, runner: Runner) -> None:
        """Looks, before days of training, whether there will be anything to test.

        Raises:
            ConfigError: If the best checkpoint is not kept, or the config does not test.
            LTHError: If the test set is not there.
        """
        saves = (runner.cfg.get("default_hooks") or {}).get("checkpoint") or {}
        if saves.get("save_best") != self.metric:
            raise ConfigError(
                f"TestAtBestValHook reports {self.metric!r} at its best validation: set "
                f"default_hooks.checkpoint.save_best={self.metric!r}"
            )
        if runner._val_loop is None or runner._test_loop is None:
            raise ConfigError("TestAtBestValHook needs the config to validate and to test")
        runner.test_loop  # noqa: B018  (built now, with its data set)

    def after_train(self, runner: Runner) -> None:
        """Tests the best weights, reports the result and puts the last weights back.

        Raises:
            RunError: If the best epoch's checkpoint is gone.
        """
        barrier()  # rank 0 may still be writing the file
        best = _best_checkpoint(runner)
        state = read_state(best)
        modules = _models(runner)
        last = [snapshot(module) for module in modules]
        training = runner.model.training
        try:
            for module in modules:
                restore(module, state)
            metrics = {k: float(v) for k, v in runner.test_loop.run().items()}
        finally:
            for module, weights in zip(modules, last, strict=True):
                restore(module, weights)
            runner.model.train(training)
        result = {
            "metric": self.metric,
            "epoch": int(re.findall(r"_(\d+)\.pth$", best.name)[0]),
            "val": float(runner.message_hub.get_info("best_score")),
            "test": metrics[self.metric],
            "all_test_metrics": metrics,
            "checkpoint": best.name,
        }
        self._report(runner, result)

    def _report(self, runner: Runner, result: dict[str, Any]) -> None:
        runner.logger.info(
            f"lth: {self.metric} {result['test']:.2f} on the test set with the weights of epoch "
            f"{result['epoch']}, the best on validation ({result['val']:.2f})"
        )
        for hook in runner.hooks:
            if isinstance(hook, LastMetrics):
                hook.last = {**hook.last, LEVEL_METRIC: result["test"]}
        if is_main_process():
            write_atomic(Path(runner.work_dir) / RESULT, json.dumps(result, indent=2) + "\n")


def _best_checkpoint(runner: Runner) -> Path:
    known = runner.message_hub.runtime_info.get("best_ckpt")
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
