"""VisDA2017: synthetic pictures to train on, real ones to validate on (paper A, section A.3)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from lth_core.errors import ConfigError
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from lth_cls.datasets.files import damaged, require

LIST = "image_list.txt"
_SAMPLES = {"train": 152_397, "validation": 55_388}


@DATASETS.register_module()
class VisDA2017(BaseDataset):
    """VisDA2017's classification task, by its own list files.

    ``data_root`` holds ``train/image_list.txt`` and ``validation/image_list.txt``, each with lines
    such as ``aeroplane/x.png 0`` of pictures beside it. Each sample has ``img_path`` and
    ``gt_label``.

    Args:
        data_root: The folder.
        domain: ``train`` (synthetic renderings) or ``validation`` (real photographs). Paper A
            both chooses the epoch and reports on ``validation``.
        verify: Whether a list must have the published number of lines.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        ConfigError: If there is no such domain.
        DataError: If a list is missing or cut short, or a picture is missing or, when it is read,
            damaged.
    """

    METAINFO: ClassVar = {
        "classes": (
            "aeroplane",
            "bicycle",
            "bus",
            "car",
            "horse",
            "knife",
            "motorcycle",
            "person",
            "plant",
            "skateboard",
            "train",
            "truck",
        )
    }
    SOURCE = (
        "download train.tar and validation.tar as "
        "https://github.com/VisionLearningGroup/taskcv-2017-public says and unpack them in "
        "data_root"
    )

    def __init__(
        self, data_root: str, domain: str = "train", verify: bool = True, **kwargs: Any
    ) -> None:
        if domain not in _SAMPLES:
            raise ConfigError(f"VisDA2017: domain={domain!r}; choose from {', '.join(_SAMPLES)}")
        self.domain = domain
        self.verify = verify
        super().__init__(ann_file="", data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The pictures of the domain, in the order of its list."""
        folder = Path(self.data_root).expanduser() / self.domain
        path = require(folder / LIST, self.SOURCE)
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise damaged(path, problem, self.SOURCE) from None
        if not lines or (self.verify and len(lines) != _SAMPLES[self.domain]):
            raise damaged(path, f"{len(lines)} lines, not {_SAMPLES[self.domain]}", self.SOURCE)
        samples = []
        for number, line in enumerate(lines, 1):
            name, _, label = line.rpartition(" ")
            wrong = not label.isdecimal() or int(label) >= len(self.METAINFO["classes"])
            if wrong or not name or Path(name).is_absolute() or ".." in Path(name).parts:
                raise damaged(path, f"line {number} is {line[:60]!r}", self.SOURCE)
            samples.append({"img_path": str(folder / name), "gt_label": int(label)})
        self._require_pictures(path, samples)
        return samples

    def _require_pictures(self, path: Path, samples: list[dict[str, Any]]) -> None:
        """Looks whether the pictures of a list are there: a folder at a time, since they are many.

        Raises:
            DataError: Naming the first that is missing.
        """
        present: dict[str, set[str]] = {}
        for sample in samples:
            folder, name = os.path.split(sample["img_path"])
            if folder not in present:
                present[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
            if name not in present[folder]:
                require(Path(sample["img_path"]), f"{path} names it; {self.SOURCE}")

    def prepare_data(self, idx: int) -> Any:
        """One sample through the pipeline; a picture that cannot be read is named."""
        try:
            return super().prepare_data(idx)
        except (OSError, SyntaxError, AssertionError) as problem:  # the latter two: Pillow, mmcv
            picture = Path(self.get_data_info(idx)["img_path"])
            raise damaged(picture, problem, self.SOURCE) from None

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to the lines of every data set."""
        return [f"Folder: \t{self.data_root}", f"Domain: \t{self.domain}"]
