"""Data sets that come as a training and a test file, with training samples held out in file order.

Paper A, section A.3, data details: the last 5,000 training samples choose the epoch, the official
test set is what is reported, and neither is shuffled beforehand.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lth_core.errors import ConfigError
from mmpretrain.datasets import BaseDataset

PARTS = ("train", "val", "test")


class SplitDataset(BaseDataset):
    """Pictures in memory, of which the last of the training file are held out for validation.

    Each sample has ``img`` (``(H, W, 3)`` uint8 in the order R, G, B, or ``(H, W)`` for grey) and
    ``gt_label``, so pipelines start without ``LoadImageFromFile`` and the data preprocessor needs
    ``to_rgb=False``.

    Args:
        data_root: Folder that holds the published files.
        part: ``train`` (all training samples but the last ``val_last``), ``val`` (the last
            ``val_last``), both in the order of the file, or ``test`` (the official test set).
        val_last: How many training samples are held out, counted from the end of the file. 5,000
            in paper A; a smaller set needs a smaller number.
        verify: Whether the files must be the published ones, by their checksums (or, where those
            of unpacked files are not published, by their number of samples). Without, any set in
            the same format will do.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        ConfigError: If ``part`` or ``val_last`` is no good.
        DataError: If a file is missing, cut short or another one.
    """

    SOURCE: ClassVar[str]
    """Where the files come from, as the end of a sentence."""

    def __init__(
        self,
        data_root: str,
        part: str = "train",
        val_last: int = 5000,
        verify: bool = True,
        **kwargs: Any,
    ) -> None:
        if part not in PARTS:
            raise ConfigError(
                f"{type(self).__name__}: part={part!r}; choose from {', '.join(PARTS)}"
            )
        if type(val_last) is not int or val_last < 0:
            raise ConfigError(f"{type(self).__name__}: val_last={val_last!r}; use a number >= 0")
        self.part = part
        self.val_last = val_last
        self.verify = verify
        super().__init__(ann_file="", data_root=str(data_root), **kwargs)

    @abstractmethod
    def read(self, root: Path, test: bool) -> tuple[np.ndarray, np.ndarray]:
        """All samples of the training files or of the test files, in their order.

        Args:
            root: The folder.
            test: Whether the test files are wanted.

        Returns:
            ``(N, H, W, 3)`` or ``(N, H, W)`` uint8 pictures, and ``(N,)`` labels from 0.

        Raises:
            DataError: If a file is missing, cut short or another one.
        """

    def load_data_list(self) -> list[dict[str, Any]]:
        """The samples of the part, in the order of the files."""
        images, labels = self.read(Path(self.data_root).expanduser(), self.part == "test")
        if self.part != "test":
            first = len(images) - self.val_last
            if first < 1 or (self.part == "val" and not self.val_last):
                raise ConfigError(
                    f"{type(self).__name__}: val_last={self.val_last} of {len(images)} training "
                    f"samples leaves none for part={self.part!r}"
                )
            part = slice(first, None) if self.part == "val" else slice(first)
            images, labels = images[part], labels[part]
        return [
            {"img": image, "gt_label": int(label)}
            for image, label in zip(images, labels, strict=True)
        ]

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to the lines of every data set."""
        return [f"Folder: \t{self.data_root}", f"Part: \t{self.part} (val_last {self.val_last})"]
