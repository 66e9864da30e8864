"""Fashion-MNIST with the last training samples held out (paper A, section A.3)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import ClassVar

import numpy as np
from mmpretrain.datasets import FashionMNIST
from mmpretrain.registry import DATASETS

from lth_cls.datasets.files import UNREADABLE, damaged, require, require_published
from lth_cls.datasets.split import SplitDataset

_IMAGES, _LABELS = 0x0803, 0x0801
"""First four bytes of an idx file: unsigned bytes in three dimensions, and in one."""

_SAMPLES = {False: 60_000, True: 10_000}


@DATASETS.register_module()
class SplitFashionMNIST(SplitDataset):
    """Fashion-MNIST: 55,000 / 5,000 / 10,000 grey pictures of 28 x 28.

    ``data_root`` holds the four idx files as published (``.gz``, which are then taken) or
    unpacked. Names and checksums are those of mmpretrain's ``FashionMNIST``. See
    :class:`~lth_cls.datasets.split.SplitDataset` for the arguments.
    """

    METAINFO: ClassVar = FashionMNIST.METAINFO
    SOURCE = (
        "download its four files from https://github.com/zalandoresearch/fashion-mnist "
        "into data_root"
    )

    def read(self, root: Path, test: bool) -> tuple[np.ndarray, np.ndarray]:
        """See the base class."""
        (image_file, image_md5), (label_file, label_md5) = (
            FashionMNIST.test_list if test else FashionMNIST.train_list
        )
        images = self._read_idx(root / image_file, image_md5, _IMAGES)
        labels = self._read_idx(root / label_file, label_md5, _LABELS)
        path = root / label_file
        if images.shape[1:] != (28, 28) or len(images) != len(labels):
            raise damaged(path, f"{len(labels)} labels of {images.shape} pictures", self.SOURCE)
        if self.verify and len(images) != _SAMPLES[test]:
            raise damaged(path, f"{len(images)} samples, not {_SAMPLES[test]}", self.SOURCE)
        if not (labels < 10).all():
            raise damaged(path, "labels not among 0 ... 9", self.SOURCE)
        return images, labels

    def _read_idx(self, packed: Path, md5: str, magic: int) -> np.ndarray:
        """The array in an idx file, packed or, if that is not there, unpacked."""
        unpacked = packed.with_suffix("")
        if packed.exists() or not unpacked.exists():
            path = require_published(packed, md5 if self.verify else None, self.SOURCE)
        else:
            path = require(unpacked, self.SOURCE)
        try:
            data = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
        except UNREADABLE as problem:
            raise damaged(path, problem, self.SOURCE) from None
        header = 4 + 4 * (magic & 0xFF)
        if len(data) < header or int.from_bytes(data[:4], "big") != magic:
            raise damaged(path, f"it does not begin with {magic:#06x}", self.SOURCE)
        shape = tuple(int(size) for size in np.frombuffer(data, ">u4", magic & 0xFF, 4))
        if len(data) != header + int(np.prod(shape, dtype=object)):
            raise damaged(path, f"{len(data) - header} bytes of a {shape} array", self.SOURCE)
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
