"""SVHN, cropped digits, with the last training samples held out (paper A, section A.3)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.io  # type: ignore[import-untyped]
from mmpretrain.registry import DATASETS
from torchvision.datasets import SVHN

from lth_cls.datasets.files import UNREADABLE, damaged, require_published
from lth_cls.datasets.split import SplitDataset


@DATASETS.register_module()
class SplitSVHN(SplitDataset):
    """SVHN's cropped digits: 68,257 / 5,000 / 26,032 pictures of 32 x 32; no extra set.

    The files' names and checksums are those of torchvision's ``SVHN``. See
    :class:`~lth_cls.datasets.split.SplitDataset` for the arguments.
    """

    METAINFO: ClassVar = {"classes": tuple("0123456789")}
    SOURCE = (
        f"download {SVHN.split_list['train'][0]} and {SVHN.split_list['test'][0]} into data_root"
    )

    def read(self, root: Path, test: bool) -> tuple[np.ndarray, np.ndarray]:
        """See the base class. The file's label 10 stands for the digit 0."""
        _, name, md5 = SVHN.split_list["test" if test else "train"]
        path = require_published(root / name, md5 if self.verify else None, self.SOURCE)
        try:
            content = scipy.io.loadmat(str(path))
            images, labels = content["X"], content["y"].reshape(-1)
        except (*UNREADABLE, scipy.io.matlab.MatReadError) as problem:
            raise damaged(path, problem, self.SOURCE) from None
        shape = (32, 32, 3, len(labels))
        if images.dtype != np.uint8 or images.shape != shape:
            raise damaged(
                path, f"{images.dtype} {images.shape} with {len(labels)} labels", self.SOURCE
            )
        if not ((labels >= 1) & (labels <= 10)).all():
            raise damaged(path, "labels not among 1 ... 10", self.SOURCE)
        return images.transpose(3, 0, 1, 2), labels.astype(np.int64) % 10
