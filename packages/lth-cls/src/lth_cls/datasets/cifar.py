"""CIFAR-10 and CIFAR-100 with the last training samples held out (paper A, section A.3)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.registry import DATASETS

from lth_cls.datasets.files import UNREADABLE, damaged, require_published
from lth_cls.datasets.split import SplitDataset

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}
"""What a batch of CIFAR is pickled from, besides dtypes and Python's own types."""


@DATASETS.register_module()
class SplitCIFAR10(SplitDataset):
    """CIFAR-10 in its Python version: 45,000 / 5,000 / 10,000 pictures of 32 x 32.

    The files' names and checksums are those of mmpretrain's ``CIFAR10``. See
    :class:`~lth_cls.datasets.split.SplitDataset` for the arguments.
    """

    published: ClassVar = CIFAR10
    METAINFO: ClassVar = CIFAR10.METAINFO
    SOURCE = f"download {CIFAR10.url} and unpack it in data_root"

    def read(self, root: Path, test: bool) -> tuple[np.ndarray, np.ndarray]:
        """The batches one after the other; see the base class."""
        images, labels = [], []
        for name, md5 in self.published.test_list if test else self.published.train_list:
            path = root / self.published.base_folder / name
            require_published(path, md5 if self.verify else None, self.SOURCE)
            batch = self._read_batch(path)
            images.append(batch[0])
            labels.append(batch[1])
        return np.concatenate(images), np.concatenate(labels)

    def _read_batch(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Pictures ``(N, 32, 32, 3)`` and labels ``(N,)`` of one file."""
        try:
            with path.open("rb") as file:
                batch = _Plain(file, encoding="latin1").load()
            rows = np.asarray(batch["data"])
            labels = np.asarray(batch["labels" if "labels" in batch else "fine_labels"])
        except UNREADABLE as problem:
            raise damaged(path, problem, self.SOURCE) from None
        classes = len(self.METAINFO["classes"])
        if rows.dtype != np.uint8 or rows.shape[1:] != (3072,) or labels.shape != rows.shape[:1]:
            raise damaged(
                path, f"{rows.dtype} {rows.shape} with {labels.shape} labels", self.SOURCE
            )
        if not np.issubdtype(labels.dtype, np.integer) or not _within(labels, classes):
            raise damaged(path, f"labels not among 0 ... {classes - 1}", self.SOURCE)
        return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


@DATASETS.register_module()
class SplitCIFAR100(SplitCIFAR10):
    """CIFAR-100 in its Python version, by fine labels: 45,000 / 5,000 / 10,000 pictures."""

    published: ClassVar = CIFAR100
    METAINFO: ClassVar = CIFAR100.METAINFO
    SOURCE = f"download {CIFAR100.url} and unpack it in data_root"


def _within(labels: np.ndarray, classes: int) -> bool:
    return bool(((labels >= 0) & (labels < classes)).all())


class _Plain(pickle.Unpickler):
    """Reads arrays and Python's own types; a pickle can hold any program, these may not."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names of :data:`_ALLOWED`."""
        if (module, name) == ("numpy", "dtype"):
            return _dtype
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _dtype(name: str, *flags: object) -> np.dtype:
    """As numpy's, without the flags of 2009's numpy, of which today's warns."""
    return np.dtype(name)
