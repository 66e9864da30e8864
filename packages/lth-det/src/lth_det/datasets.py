"""Data sets: VOC and COCO by mmdet's readers with checks, and the embedded digit scenes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar
from xml.etree import ElementTree

from lth_core.openmmlab import embedded
from lth_core.openmmlab.datafiles import require_files
from lth_core.openmmlab.embedded import DataError
from mmdet.datasets import CocoDataset, VOCDataset
from mmdet.registry import DATASETS
from mmengine.fileio import list_from_file

_AGAIN = "unpack the archives of the data set again"


@DATASETS.register_module()
class VOCDetection(VOCDataset):
    """mmdet's ``VOCDataset``, which says in one line what is missing or damaged on the disk."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """As mmdet's, once every listed picture and annotation has been found.

        Raises:
            DataError: If a file is missing, or an annotation cannot be read.
        """
        require_files([self.ann_file], _AGAIN)
        root = self.sub_data_root
        stems = list_from_file(self.ann_file)
        for folder, ending in ((self.ann_subdir, "xml"), (self.img_subdir, "jpg")):
            require_files((os.path.join(root, folder, f"{s}.{ending}") for s in stems), _AGAIN)
        found: list[dict[str, Any]] = super().load_data_list()
        return found

    def parse_data_info(self, img_info: dict[str, Any]) -> Any:
        """As mmdet's.

        Raises:
            DataError: If the annotation is no VOC annotation.
        """
        try:
            return super().parse_data_info(img_info)
        except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as problem:
            raise DataError(
                f"{img_info['xml_path']} is no VOC annotation ({problem}); {_AGAIN}"
            ) from problem


@DATASETS.register_module()
class CocoDetection(CocoDataset):
    """mmdet's ``CocoDataset``, which says in one line what is missing or damaged on the disk."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """As mmdet's, and then every listed picture is looked for.

        Raises:
            DataError: If a file is missing, or the annotations cannot be read.
        """
        require_files([self.ann_file], _AGAIN)
        try:
            found: list[dict[str, Any]] = super().load_data_list()
        except (AssertionError, LookupError, TypeError, ValueError) as problem:
            raise DataError(
                f"{self.ann_file} holds no COCO annotations ({problem!r}); {_AGAIN}"
            ) from problem
        require_files((each["img_path"] for each in found), _AGAIN)
        return found


@DATASETS.register_module()
class DigitScenesDetection(VOCDataset):
    """Digit scenes with boxes, read by mmdet's own VOC reader; made at first use.

    Args:
        split: ``train`` or ``test``.
        seed: Of the split of the digits and of the scenes.
        settings: Fields of `lth_core.openmmlab.embedded.SceneSettings` to change.
        **kwargs: Of mmdet's ``VOCDataset``.
    """

    METAINFO: ClassVar = {"classes": embedded.CLASSES, "palette": embedded.PALETTE[1:]}

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
            ann_file=embedded.image_set("Main", split),
            data_prefix={"sub_data_root": ""},
            **kwargs,
        )
