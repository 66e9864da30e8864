"""``lth test`` with linear SVMs: what a checkpoint's features are worth (paper B, Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lth_core.errors import ConfigError
from lth_core.openmmlab.pretrained import PretrainedBackbone
from lth_core.scope import unwrap
from mmengine.dist import broadcast_object_list, collect_results, is_main_process
from mmengine.registry import LOOPS
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from mmpretrain.structures import DataSample, label_to_onehot
from torch import Tensor
from torch.utils.data import DataLoader

from lth_cls.evaluation.checkpoints import RecordedTest
from lth_cls.evaluation.linear_svm import LinearSVMs, SVMSettings, train_svms
from lth_cls.evaluation.loops import pooled

DIFFICULT = ("negative", "left_out")


@LOOPS.register_module()
class LinearSVMLoop(RecordedTest):
    """Trains a linear SVM for each class on the features of one data set and tests on another's.

    ``test_cfg = dict(type='LinearSVMLoop', train_dataloader=dict(...))``. The features are what the
    model's neck gives, or its backbone, averaged over height and width. The checkpoint that is
    tested is read by :func:`lth_core.load_backbone`: that of a classifier or of any self-supervised
    model, a published one, or a ticket with weights; all of the backbone has to be there.

    Scores go to ``test_evaluator`` as ``pred_score``: distances to the boundaries through a
    sigmoid, as mmpretrain's multi-label heads give theirs. Where an image has one class, the
    largest is it.

    Args:
        runner: As mmengine's.
        dataloader: Of the images to test with.
        evaluator: As mmengine's.
        train_dataloader: Of the images to train with. Its pipeline should be that of the test:
            nothing random, since every image is seen once.
        difficult: What images are, in training, for a class that they show in objects marked
            difficult only: ``"negative"``, as in Goyal et al.'s code, or ``"left_out"``. In the
            test the metric leaves them out.
        fp16: As mmengine's.
        **settings: Of :class:`~lth_cls.evaluation.SVMSettings`.

    Raises:
        ConfigError: If a setting is no good.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        evaluator: Any,
        train_dataloader: DataLoader | dict[str, Any],
        difficult: str = "negative",
        fp16: bool = False,
        **settings: Any,
    ) -> None:
        if difficult not in DIFFICULT:
            raise ConfigError(
                f"LinearSVMLoop: difficult={difficult!r}; choose from {', '.join(DIFFICULT)}"
            )
        try:
            self.settings = SVMSettings(**settings)
        except TypeError:
            known = ", ".join(SVMSettings.__dataclass_fields__)
            raise ConfigError(
                f"LinearSVMLoop: of {', '.join(settings)} not all are known; there are {known}"
            ) from None
        super().__init__(runner, dataloader, evaluator, fp16)
        self.difficult = difficult
        self.train_dataloader: Any = (
            runner.build_dataloader(train_dataloader, seed=runner.seed)
            if isinstance(train_dataloader, dict)
            else train_dataloader
        )
        self.svms: LinearSVMs | None = None

    def load_checkpoint(self, path: str) -> None:
        """Gives the model the backbone in a file; see :class:`PretrainedBackbone`."""
        model: Any = unwrap(self.runner.model)
        PretrainedBackbone(path)(model.backbone)
        self.checkpoint = path

    def run(self) -> dict[str, float]:
        """Trains and tests; the numbers go into the work directory's file of results too."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        self.svms = self._train()
        costs = " ".join(f"{cost:.3g}" for cost in self.svms.costs)
        self.runner.logger.info(f"linear SVMs: costs {costs}")
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        metrics: dict[str, float] = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        self.record(metrics, {"type": "linear SVM"})
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Mapping[str, Any]) -> None:
        """Hands a batch's scores to the evaluator."""
        assert self.svms is not None
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        features, samples = self._features(data_batch)
        for sample, scores in zip(samples, self.svms.scores(features.numpy()), strict=True):
            # Not the distances themselves: mmpretrain's Accuracy calls all that is below 0 wrong.
            sample.set_pred_score(torch.from_numpy(scores).sigmoid())
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook(
            "after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=samples
        )

    @torch.no_grad()
    def _train(self) -> LinearSVMs:
        """Features of all processes are brought together; the first one trains."""
        found: list[tuple[Tensor, Tensor]] = []
        for data_batch in self.train_dataloader:
            features, samples = self._features(data_batch)
            targets = [self._target(sample) for sample in samples]
            found += zip(features.unbind(), targets, strict=True)
        every = collect_results(found, len(self.train_dataloader.dataset), device="cpu")
        trained: list[Any] = [None]
        if is_main_process():
            inputs, wanted = (torch.stack(part).numpy() for part in zip(*every, strict=True))
            trained = [_tried(inputs, wanted, self.settings, self._classes())]
        broadcast_object_list(trained)
        if isinstance(trained[0], Exception):
            raise trained[0]
        svms: LinearSVMs = trained[0]
        return svms

    def _features(self, data_batch: Mapping[str, Any]) -> tuple[Tensor, list[DataSample]]:
        """``(N, C)``, on the CPU, and the samples."""
        model: Any = unwrap(self.runner.model)
        with autocast(enabled=self.fp16):
            data = model.data_preprocessor(data_batch, False)
            features = pooled(model.extract_feat(data["inputs"]))
        return features.float().cpu(), data["data_samples"]

    def _target(self, sample: DataSample) -> Tensor:
        """``(classes,)`` int64: 1 shown, 0 not shown, -1 to be left out."""
        classes = len(self._classes())
        target = label_to_onehot(sample.gt_label.cpu(), classes).long().clamp(max=1)
        if self.difficult == "left_out":
            if "gt_label_difficult" not in sample:
                raise ConfigError(
                    "LinearSVMLoop: difficult='left_out' needs gt_label_difficult among the "
                    "meta_keys of the train_dataloader's PackInputs"
                )
            unsure = label_to_onehot(list(sample.gt_label_difficult), classes) > 0
            target[unsure & (target == 0)] = -1
        return target

    def _classes(self) -> list[str]:
        dataset: Any = self.train_dataloader.dataset
        return list(dataset.metainfo["classes"])


def _tried(
    features: np.ndarray, targets: np.ndarray, settings: SVMSettings, classes: list[str]
) -> LinearSVMs | Exception:
    """What is trained, or what is wrong: all processes should hear of it."""
    try:
        return train_svms(features, targets, settings, classes)
    except Exception as problem:
        return problem
