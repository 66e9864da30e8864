"""Data sets: VOC and Cityscapes by mmseg's readers with checks, and the embedded digit scenes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from lth_core.openmmlab import embedded
from lth_core.openmmlab.datafiles import require_files
from lth_core.openmmlab.embedded import DataError
from mmseg.datasets import BaseSegDataset, CityscapesDataset, PascalVOCDataset
from mmseg.registry import DATASETS

_AGAIN = "unpack the archives of the data set again"


@DATASETS.register_module()
class VOCSegmentation(PascalVOCDataset):
    """mmseg's ``PascalVOCDataset``, which says in one line what is missing on the disk."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """As mmseg's, and then every listed picture and label is looked for.

        Raises:
            DataError: If a file is missing.
        """
        require_files([self.ann_file], _AGAIN)
        found: list[dict[str, Any]] = super().load_data_list()
        for key in ("img_path", "seg_map_path"):
            require_files((each[key] for each in found), _AGAIN)
        return found


@DATASETS.register_module()
class CityscapesSegmentation(CityscapesDataset):
    """mmseg's ``CityscapesDataset``, which says in one line what is missing on the disk."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """As mmseg's, and then the labels of every picture are looked for.

        Raises:
            DataError: If there are no pictures, or labels are missing.
        """
        folder = self.data_prefix["img_path"]
        found: list[dict[str, Any]] = super().load_data_list() if os.path.isdir(folder) else []
        if not found:
            raise DataError(f"{folder} has no pictures *{self.img_suffix}; {_AGAIN}")
        require_files(
            (each["seg_map_path"] for each in found),
            "csCreateTrainIdLabelImgs of cityscapesscripts writes it from the polygons of gtFine",
        )
        return found


@DATASETS.register_module()
class DigitScenesSegmentation(BaseSegDataset):
    """Digit scenes with pixel labels: background, the ten digits, 255 at their edges.

    The scenes are made at first use.

    Args:
        split: ``train`` or ``test``.
        seed: Of the split of the digits and of the scenes.
        settings: Fields of `lth_core.openmmlab.embedded.SceneSettings` to change.
        **kwargs: Of mmseg's ``BaseSegDataset``.
    """

    METAINFO: ClassVar = {
        "classes": ("background", *embedded.CLASSES),
        "palette": [list(colour) for colour in embedded.PALETTE],
    }

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        root = embedded.scenes_root(seed, embedded.SceneSettings.from_mapping(settings or {}))
        super().__init__(
            data_root=str(root),
            ann_file=embedded.image_set("Segmentation", split),
            data_prefix={"img_path": "JPEGImages", "seg_map_path": "SegmentationClass"},
            **kwargs,
        )
