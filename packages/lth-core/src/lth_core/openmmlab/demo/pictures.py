"""Detections and segmentations beside the truth, drawn by mmdet's and mmseg's own visualizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, VISUALIZERS, DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.structures import BaseDataElement

from lth_core.errors import LTHError
from lth_core.openmmlab.demo.plan import PICTURED, TRUTH

SIZE = 336
"""Height and width of pictures, in pixels: scenes are small, and labels need room."""

SCORE = 0.3
"""Least score of a detection that is drawn."""

PALETTE = [
    (31, 119, 240), (255, 127, 14), (44, 190, 44), (235, 50, 50), (165, 105, 230),
    (160, 95, 75), (245, 110, 200), (150, 150, 150), (210, 210, 40), (20, 200, 220),
]  # fmt: skip
"""Colours of the digits, RGB: VOC's own are dark, and their boxes hard to see."""


def draw(task: str, cfg: Config, files: Mapping[str, Path], directory: Path) -> None:
    """Writes ``0_truth.jpg``, ``0_dense.jpg``, ... for the first test images.

    Args:
        task: ``det`` or ``seg``.
        cfg: Its config.
        files: Checkpoints by the name of what they were trained from.
        directory: Where to.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        artist = _Artist(task, dataset.metainfo)
        samples = [dataset[index] for index in range(PICTURED)]
        for index, sample in enumerate(samples):
            artist.draw(sample, sample["data_samples"], True, directory / f"{index}_{TRUTH}.jpg")
        for name, path in files.items():
            for index, (sample, found) in enumerate(
                zip(samples, _predict(cfg, path, samples), strict=True)
            ):
                artist.draw(sample, found, False, directory / f"{index}_{name}.jpg")


def _predict(cfg: Config, path: Path, samples: list[dict[str, Any]]) -> list[BaseDataElement]:
    model = MODELS.build(copy.deepcopy(cfg.model))
    load_checkpoint(model, str(path), map_location="cpu")
    model.eval()
    batch = {
        "inputs": [sample["inputs"] for sample in samples],
        "data_samples": [copy.deepcopy(sample["data_samples"]) for sample in samples],
    }
    with torch.no_grad():
        return model.test_step(batch)


class _Artist:
    """Draws one task's truth and predictions, enlarged."""

    def __init__(self, task: str, metainfo: Mapping[str, Any]) -> None:
        kinds = {"det": "DetLocalVisualizer", "seg": "SegLocalVisualizer"}
        if task not in kinds:
            raise LTHError(f"demo: there are no pictures of {task}")
        self.task = task
        settings = {"alpha": 0.6} if task == "seg" else {"line_width": 3}
        palette = [(30, 30, 36), *PALETTE] if task == "seg" else PALETTE
        self.visualizer = VISUALIZERS.build(
            {"type": kinds[task], "name": f"demo_{task}", "vis_backends": None, **settings}
        )
        self.visualizer.dataset_meta = {**metainfo, "palette": palette}

    def draw(
        self, sample: Mapping[str, Any], data_sample: BaseDataElement, truth: bool, path: Path
    ) -> None:
        """Writes one picture."""
        image = sample["inputs"].permute(1, 2, 0).numpy()
        image = np.ascontiguousarray(image[..., ::-1])  # mm reads BGR; visualizers draw RGB
        image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        shown = self._enlarged(data_sample, SIZE / sample["inputs"].shape[-1])
        settings = {"pred_score_thr": SCORE} if self.task == "det" else {"with_labels": False}
        self.visualizer.add_datasample(
            path.stem, image, shown, draw_gt=truth, draw_pred=not truth, **settings
        )
        if self.task == "det":
            self._name(shown.gt_instances if truth else shown.pred_instances)
        drawn = np.ascontiguousarray(self.visualizer.get_image()[..., ::-1])
        cv2.imwrite(str(path), drawn, [cv2.IMWRITE_JPEG_QUALITY, 88])

    def _name(self, instances: Any) -> None:
        """Writes digits at their boxes; mmdet's visualizer does so too small to be read here."""
        if "scores" in instances:
            instances = instances[instances.scores > SCORE]
        if len(instances):
            labels = instances.labels.tolist()
            self.visualizer.draw_texts(
                [self.visualizer.dataset_meta["classes"][label] for label in labels],
                instances.bboxes[:, :2],
                font_sizes=17,
                colors="white",
                bboxes=[
                    {"facecolor": np.array(PALETTE[label]) / 255, "edgecolor": "none", "pad": 1.5}
                    for label in labels
                ],
            )

    def _enlarged(self, data_sample: BaseDataElement, factor: float) -> BaseDataElement:
        shown = copy.deepcopy(data_sample)
        if self.task == "det":
            for instances in (shown.gt_instances, shown.get("pred_instances")):
                if instances is not None:
                    boxes = instances.bboxes
                    instances.bboxes = torch.as_tensor(getattr(boxes, "tensor", boxes)) * factor
            return shown
        for key in ("gt_sem_seg", "pred_sem_seg"):
            pixels = shown.get(key)
            if pixels is not None:
                labels = pixels.data.cpu().numpy()[0].astype(np.uint8)
                large = cv2.resize(labels, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
                shown.set_data({key: type(pixels)(data=torch.as_tensor(large)[None])})
        return shown
