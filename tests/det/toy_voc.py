"""A VOC devkit of a few small images, in the real on-disk layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

_OBJECT = """  <object>
    <name>{name}</name><pose>Unspecified</pose><truncated>0</truncated>
    <difficult>{difficult}</difficult>
    <bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>
  </object>
"""
_ANNOTATION = """<annotation>
  <folder>{year}</folder><filename>{stem}.jpg</filename>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
{objects}</annotation>
"""


def make_voc(root: Path, images: int = 4, empty: int = 0) -> Path:
    """Writes VOCdevkit/VOC2007 and VOC2012 under ``root``; returns ``root``.

    Each image has a dog and a person, who is difficult in every second one; the last ``empty``
    images of each split have nothing.
    """
    rng = np.random.default_rng(0)
    for year, splits in (("VOC2007", ("trainval", "test")), ("VOC2012", ("trainval",))):
        base = root / "VOCdevkit" / year
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        for number, split in enumerate(splits):
            stems = [f"{year[-4:]}_{number}{index:05d}" for index in range(images)]
            (base / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
            for index, stem in enumerate(stems):
                width, height = (96, 64) if index % 2 else (64, 96)
                image = rng.integers(0, 255, (height, width, 3), np.uint8)
                cv2.imwrite(str(base / "JPEGImages" / f"{stem}.jpg"), image)
                objects = "".join(
                    _OBJECT.format(name=name, difficult=difficult, x1=5, y1=7, x2=45, y2=50)
                    for name, difficult in (("dog", 0), ("person", index % 2))
                    if index < images - empty
                )
                (base / "Annotations" / f"{stem}.xml").write_text(
                    _ANNOTATION.format(
                        year=year, stem=stem, width=width, height=height, objects=objects
                    )
                )
    return root
