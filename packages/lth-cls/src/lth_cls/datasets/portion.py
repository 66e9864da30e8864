"""A portion of a data set: few images, few classes, or few labels among all images.

Paper B prunes with 10 % of ImageNet's images or classes (section 3, Fig. 5); paper C transfers with
10 % and 1 % of the downstream images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from lth_core.errors import ConfigError
from mmengine.dataset import BaseDataset, force_full_init
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

UNLABELLED = -1
"""``gt_label`` of images whose class is not to be used."""

Order = Literal["balanced", "random", "file"]
ORDERS = ("balanced", "random", "file")


@DATASETS.register_module()
class Portion(Dataset):
    """A portion of a classification data set, the same for the same seed.

    Args:
        dataset: The whole one, or its config.
        images: Share of its images to keep, in (0, 1].
        classes: Share of its classes to keep, with all of their images, in (0, 1]. Labels keep
            their numbers. Exactly one of ``images`` and ``classes`` is given.
        order: Which images: ``balanced``, as many of each class as its share (rounded, at least
            one) at random; ``random``, at random over all; ``file``, the first ones (paper C's
            code, whose portions are neither random nor balanced). Classes are always drawn.
        hide_labels: Keep all images, but give those outside of the portion the label -1.
        seed: Of what is drawn, alone: neither the run's seed nor what was drawn before plays a
            part.

    Raises:
        ConfigError: If a setting is no good, or nothing would be left.
    """

    def __init__(
        self,
        dataset: BaseDataset | Mapping[str, Any],
        images: float | None = None,
        classes: float | None = None,
        order: Order = "balanced",
        hide_labels: bool = False,
        seed: int = 0,
    ) -> None:
        if (images is None) == (classes is None):
            raise ConfigError("Portion: give images or classes, one of them")
        share = images if classes is None else classes
        if type(share) not in (int, float) or not 0 < share <= 1:  # type: ignore[operator]
            raise ConfigError(f"Portion: {share!r} is no share; use a number above 0, up to 1")
        if order not in ORDERS:
            raise ConfigError(f"Portion: order={order!r}; choose from {', '.join(ORDERS)}")
        if classes is not None and order != ORDERS[0]:
            raise ConfigError(
                f"Portion: order={order!r} says which images; classes are always drawn"
            )
        if type(seed) is not int or seed < 0:
            raise ConfigError(f"Portion: seed={seed!r}; use a whole number from 0 on")
        self.images = images
        self.classes = classes
        self.order = order
        self.hide_labels = hide_labels
        self.seed = seed
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        self._fully_initialized = False
        self.full_init()

    def full_init(self) -> None:
        """Reads the whole data set and draws the portion."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        labels = np.asarray(self.dataset.get_gt_labels())
        drawn = self._draw(labels)
        if not len(drawn):
            raise ConfigError(f"Portion: nothing is left of {len(labels)} images")
        self.indices = np.arange(len(labels)) if self.hide_labels else drawn
        self._labels = np.full(len(labels), UNLABELLED)
        self._labels[drawn] = labels[drawn]
        self._fully_initialized = True

    @property
    def metainfo(self) -> dict[str, Any]:
        """The whole data set's."""
        found: dict[str, Any] = self.dataset.metainfo
        return found

    @force_full_init
    def __len__(self) -> int:
        return len(self.indices)

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """What is known of a sample, before the pipeline; ``sample_idx`` is its place here."""
        whole = int(self.indices[idx])
        info: dict[str, Any] = self.dataset.get_data_info(whole)
        info["sample_idx"] = int(idx) % len(self)
        info["gt_label"] = int(self._labels[whole])
        return info

    @force_full_init
    def get_gt_labels(self) -> npt.NDArray[np.int64]:
        """``(N,)`` int64, -1 where the label is hidden."""
        return self._labels[self.indices]

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """The class of a sample, for samplers that ask."""
        return [int(self._labels[self.indices[idx]])]

    def __getitem__(self, idx: int) -> Any:
        return self.dataset.pipeline(self.get_data_info(idx))

    def _draw(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions of what belongs to the portion, ascending."""
        random = np.random.default_rng(self.seed)
        if self.classes is not None:
            known = np.unique(labels)
            count = max(1, round(self.classes * len(known)))
            kept = random.permutation(known)[:count]
            return np.flatnonzero(np.isin(labels, kept))
        assert self.images is not None
        if self.order == "balanced":
            parts = []
            for label in np.unique(labels):
                members = np.flatnonzero(labels == label)
                count = max(1, round(self.images * len(members)))
                parts.append(random.permutation(members)[:count])
            return np.sort(np.concatenate(parts))
        # Paper C's code rounds down.
        count = int(self.images * len(labels))
        every = np.arange(len(labels))
        return every[:count] if self.order == "file" else np.sort(random.permutation(every)[:count])
