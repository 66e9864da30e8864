"""COCO of a few small images, in the real on-disk layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from mmdet.datasets import CocoDataset

PERSON, CAR = 1, 3  # COCO's own numbers, which have gaps


def make_coco(root: Path, images: int = 4) -> Path:
    """Writes coco/ under ``root``; returns ``root``. The last image of each split is empty."""
    rng = np.random.default_rng(0)
    ids = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    classes = zip(ids, CocoDataset.METAINFO["classes"], strict=True)
    categories = [{"id": number, "name": name} for number, name in classes]
    for split in ("train2017", "val2017"):
        (root / "coco" / split).mkdir(parents=True)
        (root / "coco" / "annotations").mkdir(exist_ok=True)
        listed, boxes = [], []
        for index in range(images):
            name = f"{index + 1:012d}.jpg"
            picture = rng.integers(0, 255, (64, 96, 3), np.uint8)
            cv2.imwrite(str(root / "coco" / split / name), picture)
            listed.append({"id": index + 1, "file_name": name, "width": 96, "height": 64})
            for category, crowd in ((PERSON, index % 2), (CAR, 0)) if index < images - 1 else ():
                boxes.append(
                    {
                        "id": len(boxes) + 1,
                        "image_id": index + 1,
                        "category_id": category,
                        "bbox": [5, 7, 40, 43],
                        "area": 1720,
                        "iscrowd": crowd,
                        "segmentation": [[5, 7, 45, 7, 45, 50, 5, 50]],
                    }
                )
        content = {"images": listed, "annotations": boxes, "categories": categories}
        file = root / "coco" / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(content))
    return root
