"""``lth test`` over all corruptions and severities of CIFAR-10-C or CIFAR-100-C."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lth_core.errors import ConfigError
from mmengine.registry import LOOPS
from mmengine.runner import Runner

from lth_cls.datasets.corruptions import CORRUPTIONS, SEVERITIES
from lth_cls.evaluation.checkpoints import RecordedTest
from lth_cls.evaluation.victim import bfloat16

MEAN = "corruptions"
"""Name, among metrics, of the mean over all corruptions and severities."""


@LOOPS.register_module()
class CorruptionTestLoop(RecordedTest):
    """Tests a classifier on pictures with each corruption and severity, one after the other.

    ``test_cfg = dict(type='CorruptionTestLoop', dataset=dict(type='CIFAR10C', data_root=...))``.
    What is called ``accuracy/top1`` otherwise is ``accuracy/top1/gaussian_noise-3`` on pictures
    with Gaussian noise of severity 3, and the mean of all is ``accuracy/top1/corruptions``.
    Pictures go through the pipeline of ``test_dataloader``, whose data set is replaced.

    Args:
        runner: As mmengine's.
        dataloader: As mmengine's, as a dict.
        evaluator: As mmengine's.
        dataset: Takes ``corruption`` and ``severity``, which are added to it.
        corruptions: Their names; by default the 15 that means are taken over.
        severities: From 1 to 5.
        fp16: As mmengine's.
        bf16: The same in bfloat16.

    Raises:
        ConfigError: If a setting is no good.
        DataError: If a file is missing or damaged.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict[str, Any],
        evaluator: Any,
        dataset: Mapping[str, Any],
        corruptions: Sequence[str] = CORRUPTIONS,
        severities: Sequence[int] = SEVERITIES,
        fp16: bool = False,
        bf16: bool = False,
    ) -> None:
        if not isinstance(dataloader, Mapping) or "dataset" not in dataloader:
            raise ConfigError("CorruptionTestLoop needs test_dataloader as a dict, with a dataset")
        if not corruptions or not severities:
            raise ConfigError("CorruptionTestLoop: corruptions or severities are empty")
        self.sets: dict[str, Any] = {}
        for corruption, severity in itertools.product(corruptions, severities):
            own = {
                "pipeline": dataloader["dataset"].get("pipeline", ()),
                "test_mode": True,
                **dataset,
                "corruption": corruption,
                "severity": severity,
            }
            # Workers of 75 loaders would not go well together.
            loader = {**dataloader, "dataset": own, "persistent_workers": False}
            # Built now, so that a missing file is found before any test.
            self.sets[f"{corruption}-{severity}"] = runner.build_dataloader(loader, runner.seed)
        super().__init__(runner, next(iter(self.sets.values())), evaluator, fp16 or bf16)
        self.bf16 = bf16

    def run(self) -> dict[str, float]:
        """Tests; the metrics of all sets and their means."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        metrics: dict[str, float] = {}
        means: dict[str, float] = {}
        for name, dataloader in self.sets.items():
            with bfloat16(self.bf16):
                for idx, data_batch in enumerate(dataloader):
                    self.run_iter(idx, data_batch)
            found = self.evaluator.evaluate(len(dataloader.dataset))
            shown = ", ".join(f"{key} {value:.2f}" for key, value in found.items())
            self.runner.logger.info(f"lth: {name}: {shown}")
            for key, value in found.items():
                metrics[f"{key}/{name}"] = value
                means[key] = means.get(key, 0.0) + value / len(self.sets)
        metrics |= {f"{key}/{MEAN}": value for key, value in means.items()}
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        self.record(metrics)
        return metrics
