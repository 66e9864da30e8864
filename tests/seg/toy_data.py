"""VOC 2012, Cityscapes and ADE20K of a few small pictures, in the real on-disk layouts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CITIES = {"train": ("aachen", "bochum"), "val": ("lindau",)}


def _pictures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of 96 x 64 pixels and its labels: background, class 1 and 15, border 255."""
    picture = np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8)
    labels = np.zeros((64, 96), np.uint8)
    labels[10:40, 10:40], labels[30:60, 50:90], labels[30:32, 50:90] = 1, 15, 255
    return picture, labels


def make_voc(root: Path, images: int = 4) -> Path:
    """Writes VOCdevkit/VOC2012 under ``root``, the augmented labels too; returns ``root``."""
    base = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug",
                 "ImageSets/Segmentation"):  # fmt: skip
        (base / name).mkdir(parents=True)
    for number, split in enumerate(("train", "val", "aug")):
        folder = "SegmentationClassAug" if split == "aug" else "SegmentationClass"
        stems = [f"2012_{number}{index:05d}" for index in range(images)]
        (base / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for index, stem in enumerate(stems):
            picture, labels = _pictures(index)
            cv2.imwrite(str(base / "JPEGImages" / f"{stem}.jpg"), picture)
            file = Image.fromarray(labels, mode="P")  # VOC's labels have colours of their own
            file.putpalette(np.random.default_rng(1).integers(0, 255, 768, np.uint8).tobytes())
            file.save(base / folder / f"{stem}.png")
    return root


def make_cityscapes(root: Path, images: int = 2) -> Path:
    """Writes cityscapes/ under ``root``, that many pictures a city; returns ``root``."""
    for split, cities in CITIES.items():
        for city in cities:
            for name in ("leftImg8bit", "gtFine"):
                (root / "cityscapes" / name / split / city).mkdir(parents=True)
            for index in range(images):
                picture, labels = _pictures(index)
                stem = f"{city}_{index:06d}_000019"
                folder = root / "cityscapes" / "leftImg8bit" / split / city
                cv2.imwrite(str(folder / f"{stem}_leftImg8bit.png"), picture)
                folder = root / "cityscapes" / "gtFine" / split / city
                cv2.imwrite(str(folder / f"{stem}_gtFine_labelTrainIds.png"), labels)
    return root


def make_ade20k(root: Path, images: int = 4) -> Path:
    """Writes ade/ADEChallengeData2016 under ``root``; returns ``root``."""
    base = root / "ade" / "ADEChallengeData2016"
    for split in ("training", "validation"):
        for name in ("images", "annotations"):
            (base / name / split).mkdir(parents=True)
        for index in range(images):
            picture, labels = _pictures(index)
            stem = f"ADE_{split[:5]}_{index:08d}"
            cv2.imwrite(str(base / "images" / split / f"{stem}.jpg"), picture)
            cv2.imwrite(str(base / "annotations" / split / f"{stem}.png"), labels)
    return root
