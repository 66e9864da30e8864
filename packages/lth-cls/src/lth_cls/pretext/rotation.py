"""RotNet and S4L-RotNet: by how much has an image been turned?

Gidaris, Singh and Komodakis (2018), and Zhai, Oliver, Kolesnikov and Beyer (2019); in paper B the
pruning tasks RotNet and S4L (section 3 and Fig. 5). A data preprocessor does the turning, so that
the models are mmpretrain's ``ImageClassifier``, with one linear head for the four turns, or with
``WholeBatchMultiTaskHead`` for turns and classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lth_core.errors import ConfigError
from mmengine.evaluator import BaseMetric
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import METRICS, MODELS
from mmpretrain.structures import DataSample, MultiTaskDataSample
from torch import Tensor

from lth_cls.datasets.portion import UNLABELLED

TURNS = 4
"""Of 0, 90, 180 and 270 degrees, counter-clockwise: the classes 0 to 3."""


def turned(images: Tensor) -> Tensor:
    """All images in all four directions.

    Args:
        images: ``(N, C, S, S)``.

    Returns:
        ``(4N, C, S, S)``: first all by 0 degrees, then all by 90, by 180 and by 270.

    Raises:
        ConfigError: If the images are not square.
    """
    if images.shape[-1] != images.shape[-2]:
        raise ConfigError(
            f"images of {images.shape[-2]} x {images.shape[-1]} pixels cannot be turned by 90 "
            "degrees in one batch; crop them square in the pipeline"
        )
    return torch.cat([images.rot90(turn, (-2, -1)) for turn in range(TURNS)])


class _Turning(ClsDataPreprocessor):
    """What both preprocessors have in common: labels are whole numbers, and stay so."""

    def __init__(self, **kwargs: Any) -> None:
        for name in ("batch_augments", "to_onehot"):
            if kwargs.get(name):
                raise ConfigError(
                    f"{type(self).__name__} has no {name}: turned images are not mixed with others"
                )
        super().__init__(**kwargs)


@MODELS.register_module()
class RotationPreprocessor(_Turning):
    """Prepares images as mmpretrain's, then turns each four ways; the turn is the label.

    A batch of N becomes one of 4N, in training and in validation. Labels that the data has are left
    aside.

    Args:
        **kwargs: Of mmpretrain's ``ClsDataPreprocessor``, but for what mixes images or labels.

    Raises:
        ConfigError: If ``batch_augments`` or ``to_onehot`` is set.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepares a batch.

        Args:
            data: With ``inputs`` of N images.
            training: As mmpretrain's.

        Returns:
            ``inputs``, ``(4N, C, S, S)``, and ``data_samples``, whose ``gt_label`` is the turn.

        Raises:
            ConfigError: If the images are not square.
        """
        inputs = super().forward({"inputs": data["inputs"]}, training)["inputs"]
        labels = torch.arange(TURNS, device=inputs.device).repeat_interleave(len(inputs))
        samples = [DataSample().set_gt_label(label) for label in labels.split(1)]
        return {"inputs": turned(inputs), "data_samples": samples}


@MODELS.register_module()
class SemiSupervisedRotationPreprocessor(_Turning):
    """Prepares a batch for S4L: turns for all images, classes for those that have one.

    Goes with ``WholeBatchMultiTaskHead`` and its tasks ``label`` and ``rotation``. Images without a
    class have the ``gt_label`` -1, as ``Portion(hide_labels=True)`` gives. In validation nothing is
    turned, and ``label`` is the only task.

    Args:
        turned_labels: Whether the turned copies of an image with a class are to be classified too,
            as the authors of S4L do; paper B speaks of the labelled images alone.
        **kwargs: Of mmpretrain's ``ClsDataPreprocessor``, but for what mixes images or labels.

    Raises:
        ConfigError: If ``batch_augments`` or ``to_onehot`` is set.
    """

    def __init__(self, turned_labels: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.turned_labels = turned_labels

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepares a batch.

        Args:
            data: With ``inputs`` of N images and their ``data_samples``.
            training: Whether to turn them.

        Returns:
            ``inputs``, ``(4N, C, S, S)`` or ``(N, C, H, W)``, and ``data_samples``, each with a
            data sample for each of its tasks.

        Raises:
            ConfigError: If the images are to be turned and are not square.
        """
        # Before they go to the GPU, from where asking each for its value would take its time.
        classified = [int(sample.gt_label) != UNLABELLED for sample in data["data_samples"]]
        prepared = super().forward(data, training)
        inputs, before = prepared["inputs"], prepared["data_samples"]
        samples = []
        for turn in range(TURNS if training else 1):
            label = torch.full((1,), turn, device=inputs.device)
            for sample, known in zip(before, classified, strict=True):
                tasks = MultiTaskDataSample()
                if training:
                    tasks.set_field(DataSample().set_gt_label(label), "rotation")
                if known and (turn == 0 or self.turned_labels):
                    tasks.set_field(DataSample().set_gt_label(sample.gt_label), "label")
                samples.append(tasks)
        return {"inputs": turned(inputs) if training else inputs, "data_samples": samples}


@METRICS.register_module()
class RotationAccuracy(BaseMetric):
    """Share of turns that are told right, in percent; chance is 25.

    Counts by image, since mmengine asks for one result for each sample of the data set, and there
    are four predictions.
    """

    default_prefix = "rotation"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Takes a batch's predictions.

        Args:
            data_batch: Not used.
            data_samples: 4N, in the order of :func:`turned`, with ``gt_label`` and ``pred_score``.

        Raises:
            ConfigError: If the predictions are not of images that were turned four ways.
        """
        turns = [int(each["gt_label"]) for each in data_samples if "gt_label" in each]
        images = len(data_samples) // TURNS
        if turns != [turn for turn in range(TURNS) for _ in range(images)]:
            raise ConfigError(
                "RotationAccuracy takes predictions for each image turned four ways; set "
                "data_preprocessor.type='RotationPreprocessor'"
            )
        right = torch.tensor(
            [
                int(each["pred_score"].argmax()) == turn
                for each, turn in zip(data_samples, turns, strict=True)
            ]
        )
        self.results += right.double().view(TURNS, -1).mean(0).tolist()

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """``rotation/top1``."""
        return {"top1": 100 * sum(results) / len(results)}
