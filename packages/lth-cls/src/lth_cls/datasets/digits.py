"""The embedded digits as an mmpretrain data set."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from lth_core.openmmlab import embedded
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class DigitsDataset(BaseDataset):
    """Handwritten digits, kept in memory: a sample arrives with its image already loaded.

    Each sample has ``img`` (``(size, size, 3)`` uint8, three equal channels, white ink on black)
    and ``gt_label``, so pipelines start without ``LoadImageFromFile``; those for contrastive
    learning wrap their views in ``MultiView`` as with any other data set.

    Args:
        split: ``train`` or ``test``.
        seed: Chooses which digits are held out for ``test``.
        size: Height and width of the images, in pixels.
        **kwargs: Of mmpretrain's ``BaseDataset``.
    """

    METAINFO: ClassVar = {"classes": embedded.CLASSES}

    def __init__(self, split: str = "train", seed: int = 0, size: int = 32, **kwargs: Any) -> None:
        self.split = split
        self.seed = seed
        self.size = size
        super().__init__(ann_file="", **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The digits of the split, in the order of their positions in scikit-learn's set."""
        digits = embedded.digits(self.split, self.seed, self.size)
        shape = (self.size, self.size)
        return [
            {
                "img": np.repeat(image[..., None], 3, axis=2),
                "gt_label": int(label),
                "img_shape": shape,
                "ori_shape": shape,
            }
            for image, label in zip(digits.images, digits.labels, strict=True)
        ]

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to the lines of every data set."""
        return [f"Split: \t{self.split} (seed {self.seed})"]
