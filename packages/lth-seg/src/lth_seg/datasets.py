"""The embedded digit scenes as an mmseg data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lth_core.openmmlab import embedded
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS


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
