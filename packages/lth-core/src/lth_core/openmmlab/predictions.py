"""What trained models find in test images, drawn beside the truth."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, VISUALIZERS, DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.structures import BaseDataElement

from lth_core.errors import ConfigError, RunError
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.models import build_model, load_trained

SIDE = 336
"""The longer side of pictures, in pixels: small ones are enlarged, since labels need room."""

SCORE = 0.3
"""Least score of a detection that is drawn."""

PALETTE = [
    (31, 119, 240), (255, 127, 14), (44, 190, 44), (235, 50, 50), (165, 105, 230),
    (160, 95, 75), (245, 110, 200), (150, 150, 150), (210, 210, 40), (20, 200, 220),
]  # fmt: skip
"""Colours of classes, RGB: data sets' own are often dark, and their boxes hard to see."""

_NAMES = 12
_BACKGROUND = (30, 30, 36)


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Attributes:
        jpeg: The file's bytes.
        text: Classes of what was found in it, or of the image itself.
        plain: Whether the picture does not show that.
    """

    jpeg: bytes
    text: str
    plain: bool = False


def read_run(directory: Path) -> tuple[Config, Path]:
    """Config and last checkpoint of the training in a directory, as mmengine leaves them.

    Raises:
        RunError: If one of them is not there.
        ConfigError: If the config cannot be read.
    """
    configs = sorted(directory.glob("*.py"), key=lambda path: path.stat().st_mtime)
    if not configs:
        raise RunError(f"{directory} has no config of its training")
    try:
        # It may have moved since: only its name counts.
        name = Path((directory / "last_checkpoint").read_text().strip()).name
    except (OSError, UnicodeDecodeError):
        raise RunError(f"{directory} has no last_checkpoint") from None
    if not name or not (directory / name).is_file():
        raise RunError(f"{directory} has no checkpoint {name}")
    return load_config(str(configs[-1])), directory / name


def draw(cfg: Config, checkpoints: Sequence[Path], number: int) -> list[list[Drawn]]:
    """Draws the first test images.

    Args:
        cfg: Of a classification, detection or segmentation.
        checkpoints: Of models that were trained with it.
        number: How many images; fewer where the data set has no more.

    Returns:
        For each image the truth, then what each model finds.

    Raises:
        ConfigError: If the config has no test images, or what is found in them cannot be drawn.
        CheckpointError: If a checkpoint does not fit.
    """
    if not cfg.get("test_dataloader"):
        raise ConfigError("its config has no test images")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")), _silent():
        dataset = DATASETS.build(copy.deepcopy(cfg.test_dataloader.dataset))
        samples = [dataset[index] for index in range(min(number, len(dataset)))]
        artist = _artist(samples[0]["data_samples"], dataset.metainfo)
        columns = [[sample["data_samples"] for sample in samples]]
        columns += [_predict(cfg, path, samples) for path in checkpoints]
        return [
            [
                artist.draw(sample["inputs"], found[k], not place)
                for place, found in enumerate(columns)
            ]
            for k, sample in enumerate(samples)
        ]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps what is said of every model and file off the screen."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _predict(cfg: Config, path: Path, samples: list[dict[str, Any]]) -> list[BaseDataElement]:
    model: Any = build_model(cfg)
    load_trained(partial(load_checkpoint, model, map_location="cpu"), str(path))
    model.eval()
    found = []
    for sample in samples:  # one by one: they may differ in size
        with torch.no_grad():
            found += model.test_step(
                {
                    "inputs": [sample["inputs"]],
                    "data_samples": [copy.deepcopy(sample["data_samples"])],
                }
            )
    return found


def _artist(sample: BaseDataElement, metainfo: Mapping[str, Any]) -> _Artist:
    for key, kind in (("gt_instances", _Boxes), ("gt_sem_seg", _Regions), ("gt_label", _Labels)):
        if key in sample:
            return kind(metainfo)
    raise ConfigError("its test images come without truth that could be drawn")


class _Artist(ABC):
    """Draws one task's truth and predictions.

    Args:
        metainfo: Of the data set.
    """

    plain = False

    def __init__(self, metainfo: Mapping[str, Any]) -> None:
        self.classes = [str(name) for name in metainfo.get("classes") or ()]
        self.colours = [PALETTE[k % len(PALETTE)] for k in range(max(len(self.classes), 1))]

    def draw(self, pixels: torch.Tensor, sample: BaseDataElement, truth: bool) -> Drawn:
        """One picture.

        Args:
            pixels: As the pipeline gives them, uint8 or float, channels first, BGR or grey.
            sample: Truth, or what was found.
            truth: Which of the two.
        """
        image = _image(pixels, sample.metainfo.get("img_shape"))
        drawn, text = self.paint(image, sample, truth)
        bgr = np.ascontiguousarray(drawn[..., ::-1])
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])
        return Drawn(data.tobytes(), text, self.plain)

    @abstractmethod
    def paint(
        self, image: np.ndarray, sample: BaseDataElement, truth: bool
    ) -> tuple[np.ndarray, str]:
        """Draws on an RGB image, and says what."""

    def name(self, label: int) -> str:
        """Of a class."""
        return self.classes[label] if label < len(self.classes) else str(label)

    def names(self, labels: Sequence[int]) -> str:
        """Of several."""
        shown = ", ".join(self.name(label) for label in labels[:_NAMES])
        return (shown or "nothing") + " ..." * (len(labels) > _NAMES)


def _image(pixels: torch.Tensor, shape: Any) -> np.ndarray:
    """RGB, uint8, without what was padded, the longer side :data:`SIDE`."""
    image = pixels.permute(1, 2, 0).numpy()
    if shape is not None:
        image = image[: shape[0], : shape[1]]
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * 255 / max(high - low, 1e-9)).astype(np.uint8)
    # mm reads BGR; visualizers draw RGB.
    image = np.repeat(image, 3, 2) if image.shape[2] == 1 else image[..., ::-1]
    factor = SIDE / max(image.shape[:2])
    size = (max(round(factor * image.shape[1]), 1), max(round(factor * image.shape[0]), 1))
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=how))


class _Boxes(_Artist):
    """Boxes, by mmdet's visualizer."""

    def __init__(self, metainfo: Mapping[str, Any]) -> None:
        super().__init__(metainfo)
        self.visualizer = VISUALIZERS.build(
            {"type": "DetLocalVisualizer", "name": "lth_boxes", "vis_backends": None,
             "line_width": 3}
        )  # fmt: skip
        self.visualizer.dataset_meta = {**metainfo, "palette": self.colours}

    def paint(
        self, image: np.ndarray, sample: BaseDataElement, truth: bool
    ) -> tuple[np.ndarray, str]:
        shown = copy.deepcopy(sample)
        # Truth and predictions are in pixels of the image as it was read.
        factor = image.shape[1] / sample.metainfo["ori_shape"][1]
        instances = shown.gt_instances if truth else shown.pred_instances
        boxes = instances.bboxes
        instances.bboxes = torch.as_tensor(getattr(boxes, "tensor", boxes)) * factor
        if "masks" in instances:
            del instances.masks  # of the size of the image as it was read
        self.visualizer.add_datasample(
            "picture", image, shown, draw_gt=truth, draw_pred=not truth, pred_score_thr=SCORE
        )
        if not truth:
            instances = instances[instances.scores > SCORE]
        labels = instances.labels.tolist()
        if labels:  # mmdet's visualizer writes them too small to be read here
            names = [self.name(label) for label in labels]
            colours = [np.array(self.colours[label % len(self.colours)]) / 255 for label in labels]
            self.visualizer.draw_texts(
                names,
                instances.bboxes[:, :2],
                font_sizes=17 if max(map(len, names)) < 3 else 11,
                colors="white",
                bboxes=[{"facecolor": c, "edgecolor": "none", "pad": 1.5} for c in colours],
            )
        return self.visualizer.get_image(), self.names(labels)


class _Regions(_Artist):
    """Labelled pixels, blended over the image."""

    def paint(
        self, image: np.ndarray, sample: BaseDataElement, truth: bool
    ) -> tuple[np.ndarray, str]:
        pixels = sample.gt_sem_seg if truth else sample.pred_sem_seg
        labels = pixels.data.cpu().numpy()[0].astype(np.uint8)
        size = image.shape[1], image.shape[0]
        large = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        background = self.classes[:1] == ["background"]
        colours = [_BACKGROUND, *PALETTE] if background else PALETTE
        table = np.array([colours[k % len(colours)] for k in range(256)], np.uint8)
        table[255] = (255, 255, 255)  # what does not count
        drawn = cv2.addWeighted(image, 0.4, table[large], 0.6, 0)
        found = [int(k) for k in np.unique(labels) if k != 255]
        return np.asarray(drawn), self.names(found)


class _Labels(_Artist):
    """Images with one class each: nothing to draw, but to say."""

    plain = True

    def paint(
        self, image: np.ndarray, sample: BaseDataElement, truth: bool
    ) -> tuple[np.ndarray, str]:
        labels = sample.gt_label if truth else sample.pred_label
        return image, self.names([int(label) for label in labels.flatten()])
