"""Digit scenes as a folder in the layout of PASCAL VOC."""

from __future__ import annotations

import dataclasses
import typing
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lth_core.openmmlab.embedded.cache import DataError, cached
from lth_core.openmmlab.embedded.digits import CLASSES, Split
from lth_core.openmmlab.embedded.scenes import Scene, SceneSettings, compose

FORMAT = 1  # raised when the same settings give other files than before
# Readers of VOC want JPEG. At this quality, without colour subsampling, a pixel is off by three
# steps of 256 on average, half of the scenes' own noise.
JPEG_QUALITY = 95


def _voc_palette() -> list[tuple[int, int, int]]:
    """VOC's colours for the values 0 to 255: the bits of the value, dealt to R, G and B."""
    palette = []
    for value in range(256):
        channels = [
            sum((value >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
            for channel in range(3)
        ]
        palette.append((channels[0], channels[1], channels[2]))
    return palette


_PALETTE_256 = _voc_palette()
PALETTE = _PALETTE_256[: len(CLASSES) + 1]
"""Colours of background and the digits, RGB."""


def scenes_root(seed: int = 0, settings: SceneSettings | None = None) -> Path:
    """The folder of the digit scenes, made at the first call.

    It holds ``JPEGImages``, ``Annotations``, ``ImageSets/{Main,Segmentation}/{train,test}.txt``,
    ``SegmentationClass`` (0 background, digit + 1, 255 ignored) and ``SegmentationObject``.

    Args:
        seed: Of the split of the digits and of the scenes.
        settings: What the scenes look like.

    Returns:
        A folder inside `data_root`, checked to be complete and undamaged.
    """
    settings = settings or SceneSettings()
    identity = {"format": FORMAT, "seed": seed, **dataclasses.asdict(settings)}
    return cached("digit_scenes", identity, lambda folder: _write(folder, seed, settings))


def image_set(task: str, split: str) -> str:
    """Path of a list of scenes inside `scenes_root`.

    Args:
        task: ``Main`` (detection) or ``Segmentation``.
        split: ``train`` or ``test``.
    """
    if split not in typing.get_args(Split):
        raise DataError(f"split={split!r}: the digit scenes have a 'train' and a 'test' split")
    return f"ImageSets/{task}/{split}.txt"


def _write(folder: Path, seed: int, settings: SceneSettings) -> None:
    """Fills an empty folder with both splits."""
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject"):
        (folder / name).mkdir()
    counts = {"train": settings.train_images, "test": settings.test_images}
    for split, count in counts.items():
        names = [f"{split}_{index:05d}" for index in range(count)]
        for index, name in enumerate(names):
            _write_scene(folder, name, compose(settings, split, index, seed))
        for task in ("Main", "Segmentation"):
            listing = folder / image_set(task, split)
            listing.parent.mkdir(parents=True, exist_ok=True)
            listing.write_text("".join(f"{name}\n" for name in names), encoding="ascii")


def _write_scene(folder: Path, name: str, scene: Scene) -> None:
    """Writes the four files of one scene."""
    Image.fromarray(scene.image).save(
        folder / "JPEGImages" / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0
    )
    _save_indexed(scene.classes, folder / "SegmentationClass" / f"{name}.png")
    _save_indexed(scene.instances, folder / "SegmentationObject" / f"{name}.png")
    tree = ET.ElementTree(_annotation(name, scene))
    ET.indent(tree)
    tree.write(folder / "Annotations" / f"{name}.xml", encoding="utf-8")


def _save_indexed(values: npt.NDArray[np.uint8], path: Path) -> None:
    """Writes ``(H, W)`` uint8 values as a palette PNG."""
    image = Image.fromarray(values, mode="P")
    image.putpalette([channel for colour in _PALETTE_256 for channel in colour])
    image.save(path)


def _annotation(name: str, scene: Scene) -> ET.Element:
    """The XML of one scene; VOC counts columns and rows from 1."""
    root = ET.Element("annotation")
    _add(root, "folder", "digit_scenes")
    _add(root, "filename", f"{name}.jpg")
    height, width, depth = scene.image.shape
    size = ET.SubElement(root, "size")
    for key, value in (("width", width), ("height", height), ("depth", depth)):
        _add(size, key, value)
    _add(root, "segmented", 1)
    for label, box in zip(scene.labels, scene.boxes, strict=True):
        item = ET.SubElement(root, "object")
        _add(item, "name", CLASSES[label])
        _add(item, "pose", "Unspecified")
        _add(item, "truncated", 0)
        _add(item, "difficult", 0)
        corners = ET.SubElement(item, "bndbox")
        for key, position in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            _add(corners, key, position + 1)
    return root


def _add(parent: ET.Element, tag: str, value: object) -> None:
    ET.SubElement(parent, tag).text = str(value)
