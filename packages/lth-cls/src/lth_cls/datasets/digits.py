"""The embedded digits as an mmpretrain data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from lth_core.errors import ConfigError
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
        seed: Chooses which digits are held out for ``test``, and those that ``per_class`` keeps.
        size: Height and width of the images, in pixels.
        per_class: How many digits of each class to keep, drawn at random; None for all.
        **kwargs: Of mmpretrain's ``BaseDataset``. ``classes`` leaves out the digits of all others;
            ``gt_label`` is then the position in it.

    Raises:
        ConfigError: If ``classes`` names something else than digits, or ``per_class`` is more
            than there are.
    """

    METAINFO: ClassVar = {"classes": embedded.CLASSES}

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        size: int = 32,
        per_class: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.split = split
        self.seed = seed
        self.size = size
        self.per_class = per_class
        super().__init__(ann_file="", **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The digits of the split, in the order of their positions in scikit-learn's set."""
        digits = embedded.digits(self.split, self.seed, self.size)
        shape = (self.size, self.size)
        places = {label: place for place, label in enumerate(self._labels())}
        return [
            {
                "img": np.repeat(digits.images[index][..., None], 3, axis=2),
                "gt_label": places[int(digits.labels[index])],
                "img_shape": shape,
                "ori_shape": shape,
            }
            for index in self._chosen(digits.labels, list(places))
        ]

    def _labels(self) -> list[int]:
        """The digits that ``classes`` names."""
        for name in self.CLASSES:
            if name not in embedded.CLASSES:
                raise ConfigError(f"DigitsDataset: classes names {name!r}; use '0' ... '9'")
        return [embedded.CLASSES.index(name) for name in self.CLASSES]

    def _chosen(self, labels: npt.NDArray[np.int64], wanted: Sequence[int]) -> list[int]:
        """Positions among the split's digits of those in the set, ascending."""
        chosen: list[int] = []
        for label in wanted:
            members = np.flatnonzero(labels == label)
            if self.per_class is not None:
                if not 1 <= self.per_class <= len(members):
                    raise ConfigError(
                        f"DigitsDataset: per_class is {self.per_class!r}, but {self.split} has "
                        f"{len(members)} digits {label}"
                    )
                # A stream of each digit's own: what else is in the set plays no part.
                generator = np.random.default_rng((self.seed, label))
                members = generator.permutation(members)[: self.per_class]
            chosen += members.tolist()
        return sorted(chosen)

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to the lines of every data set."""
        return [f"Split: \t{self.split} (seed {self.seed})"]
