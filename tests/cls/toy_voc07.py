"""VOC 2007 for classification, with few small pictures, in the real layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from mmpretrain.datasets.categories import VOC2007_CATEGORIES as CLASSES

_OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"""


def objects_of(index: int) -> list[tuple[str, int]]:
    """What picture ``index`` shows: names, and whether they are difficult."""
    shown = [(CLASSES[index % 20], 0)]
    if index % 3 == 0:
        shown += [(CLASSES[(index + 1) % 20], 1), (CLASSES[index % 20], 1)]
    if index % 5 == 0:
        shown.append((CLASSES[(index + 7) % 20], 0))
    return shown


def make_voc07(root: Path, each: int = 4) -> Path:
    """Writes ``VOCdevkit/VOC2007`` with trainval and test.

    Args:
        root: The data root to be.
        each: Pictures of each class and split, in the class's colour; the last two show
            nothing that is not difficult.

    Returns:
        ``root``.
    """
    base = root / "VOCdevkit/VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (20, 3))
    for number, split in enumerate(("trainval", "test")):
        names = [f"{number}{index:05d}" for index in range(20 * each + 2)]
        (base / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for index, name in enumerate(names):
            noise = random.normal(0, 40, (36, 40, 3))
            picture = np.clip(colours[index % 20] + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(base / "JPEGImages" / f"{name}.jpg"), picture)
            shown = objects_of(index) if index < 20 * each else [(CLASSES[index % 20], 1)]
            objects = "".join(_OBJECT.format(name=n, difficult=d) for n, d in shown)
            content = f"<annotation><filename>{name}.jpg</filename>{objects}</annotation>"
            (base / "Annotations" / f"{name}.xml").write_text(content)
    return root
