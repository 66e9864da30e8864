"""CIFAR-10-C and CIFAR-100-C: test pictures with corruptions (Hendrycks and Dietterich 2019)."""

from __future__ import annotations

import functools
import tokenize
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lth_core.errors import ConfigError
from mmpretrain.datasets import CIFAR10, CIFAR100, BaseDataset
from mmpretrain.registry import DATASETS

from lth_cls.datasets.files import UNREADABLE, damaged, require

CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
"""Those that means are taken over."""

FURTHER = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Those that are published beside them, to tune on."""

SEVERITIES = (1, 2, 3, 4, 5)
_EACH = 10_000
_LABELS = "labels.npy"


@DATASETS.register_module()
class CIFAR10C(BaseDataset):
    """CIFAR-10-C: the 10,000 test pictures with one corruption of one severity.

    Files are mapped into memory, and of a file only the pictures that are asked for are read.
    Samples have ``img`` (``(32, 32, 3)`` uint8 in the order R, G, B) and ``gt_label``, so pipelines
    start without ``LoadImageFromFile`` and the data preprocessor needs ``to_rgb=False``.

    Args:
        data_root: Folder that holds ``labels.npy`` and a ``.npy`` file for each corruption, each
            with the pictures of severity 1, then those of severity 2, and so on.
        corruption: Name of its file: one of :data:`CORRUPTIONS` or :data:`FURTHER`.
        severity: From 1 to 5.
        verify: Whether there must be 10,000 pictures of each severity, as published.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        ConfigError: If ``corruption`` or ``severity`` is no good.
        DataError: If a file is missing, cut short or another one.
    """

    METAINFO: ClassVar = CIFAR10.METAINFO
    SOURCE = "download CIFAR-10-C.tar from https://zenodo.org/records/2535967 and unpack it there"

    def __init__(
        self,
        data_root: str,
        corruption: str,
        severity: int,
        verify: bool = True,
        **kwargs: Any,
    ) -> None:
        kind = type(self).__name__
        if corruption not in (*CORRUPTIONS, *FURTHER):
            known = ", ".join((*CORRUPTIONS, *FURTHER))
            raise ConfigError(f"{kind}: corruption={corruption!r}; choose from {known}")
        if type(severity) is not int or severity not in SEVERITIES:
            raise ConfigError(f"{kind}: severity={severity!r}; use a whole number from 1 to 5")
        self.corruption = corruption
        self.severity = severity
        self.verify = verify
        super().__init__(ann_file="", data_root=str(data_root), **kwargs)

    @property
    def file(self) -> Path:
        """The corruption's."""
        return Path(self.data_root).expanduser() / f"{self.corruption}.npy"

    def load_data_list(self) -> list[dict[str, Any]]:
        """The row in the file, and the label, of each picture."""
        path = self.file
        label_path = path.with_name(_LABELS)
        pictures, labels = self._map(path), self._map(label_path)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (32, 32, 3):
            raise damaged(path, f"{pictures.dtype} {pictures.shape}", self.SOURCE)
        number = len(pictures)
        each, rest = divmod(number, len(SEVERITIES))
        if rest or not each or (self.verify and each != _EACH):
            wanted = f"{len(SEVERITIES)} times {_EACH:,}" if self.verify else "a multiple of 5"
            raise damaged(path, f"{number:,} pictures, not {wanted}", self.SOURCE)
        classes = len(self.METAINFO["classes"])
        if labels.shape != (number,) or not np.issubdtype(labels.dtype, np.integer):
            problem = f"{labels.dtype} {labels.shape} for {number:,} pictures"
            raise damaged(label_path, problem, self.SOURCE)
        if not ((labels >= 0) & (labels < classes)).all():
            raise damaged(label_path, f"labels not among 0 ... {classes - 1}", self.SOURCE)
        first = each * (self.severity - 1)
        return [{"row": row, "gt_label": int(labels[row])} for row in range(first, first + each)]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """As mmpretrain's, with the picture."""
        info: dict[str, Any] = super().get_data_info(idx)
        info["img"] = np.array(self._map(self.file)[info["row"]])
        return info

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to the lines of every data set."""
        return [f"File: \t{self.file}", f"Severity: \t{self.severity}"]

    def _map(self, path: Path) -> np.ndarray:
        require(path, self.SOURCE)
        stat = path.stat()
        try:
            return _mapped(str(path), stat.st_size, stat.st_mtime_ns)
        except (
            *UNREADABLE,
            SyntaxError,
            tokenize.TokenError,
        ) as problem:  # numpy's headers are Python
            raise damaged(path, problem, self.SOURCE) from None


@DATASETS.register_module()
class CIFAR100C(CIFAR10C):
    """CIFAR-100-C, by fine labels; see :class:`CIFAR10C`."""

    METAINFO: ClassVar = CIFAR100.METAINFO
    SOURCE = "download CIFAR-100-C.tar from https://zenodo.org/records/3555552 and unpack it there"


@functools.lru_cache(maxsize=4)
def _mapped(path: str, size: int, modified: int) -> np.ndarray:
    """A file's array, left on the disk; in each process its own, since copies would be whole.

    Size and time of change only tell versions of a file apart.
    """
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
