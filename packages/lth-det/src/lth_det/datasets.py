"""The embedded digit scenes as an mmdet data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lth_core.openmmlab import embedded
from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS


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
