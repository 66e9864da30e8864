"""VisDA2017 by its own lists and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lth_cls.datasets import VisDA2017
from lth_core.errors import ConfigError
from lth_core.openmmlab.embedded import DataError
from mmengine.registry import DefaultScope
from PIL import Image

from .small_data import pictures, write_visda

LOAD = {"type": "LoadImageFromFile", "imdecode_backend": "pillow"}


def build(root: Path, **settings: Any) -> VisDA2017:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return VisDA2017(data_root=str(root), **{"verify": False, "pipeline": [LOAD], **settings})


@pytest.mark.parametrize(("domain", "count"), [("train", 8), ("validation", 4)])
def test_samples_follow_the_list(domain: str, count: int, tmp_path: Path) -> None:
    dataset = build(write_visda(tmp_path), domain=domain)
    assert len(dataset) == count
    assert dataset.get_gt_labels().tolist() == [k % 3 for k in range(count)]
    assert dataset.get_data_info(1)["img_path"].startswith(str(tmp_path / "visda2017" / domain))
    assert len(dataset.metainfo["classes"]) == 12


def test_pictures_arrive_as_blue_green_red(tmp_path: Path) -> None:
    image = build(write_visda(tmp_path))[2]["img"]
    assert np.array_equal(image[..., ::-1], pictures(8, 3, (40, 48, 3), 0)[0][2])


def test_the_published_lists_have_so_many_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image_list.txt .*8 lines, not 152397; .*http"):
        build(write_visda(tmp_path), verify=True)


def test_no_such_domain(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose from train, validation"):
        build(tmp_path, domain="test")


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    root = write_visda(tmp_path)
    (root / "train" / "image_list.txt").unlink()
    with pytest.raises(DataError, match=r"train/image_list.txt does not exist .*http.*LTH_DATA_RO"):
        build(root)


@pytest.mark.parametrize(
    "line", ["bus/1.png", "bus/1.png 12", "bus/1.png -1", " 3", "/etc/passwd 1", "../../x.png 1"]
)
def test_a_line_that_is_none_is_shown(line: str, tmp_path: Path) -> None:
    root = write_visda(tmp_path)
    path = root / "train" / "image_list.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match="line 9 is"):
        build(root)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0\x81" * 20])
def test_a_list_that_is_no_text_or_empty(content: bytes, tmp_path: Path) -> None:
    root = write_visda(tmp_path)
    (root / "train" / "image_list.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"image_list.txt is cut short or another file"):
        build(root)


def test_a_missing_picture_is_named_before_training(tmp_path: Path) -> None:
    root = write_visda(tmp_path)
    (root / "train" / "bicycle" / "4.png").unlink()
    with pytest.raises(DataError, match=r"bicycle/4.png does not exist .*image_list.txt names it"):
        build(root)


@pytest.mark.parametrize("domain", ["train", "validation"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_cut_picture_is_named_when_it_is_read(domain: str, keep: float, tmp_path: Path) -> None:
    root = write_visda(tmp_path)
    dataset = build(root, domain=domain)
    path = Path(dataset.get_data_info(0)["img_path"])
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=f"{path.name} is cut short or another file") as caught:
        dataset[0]
    assert "\n" not in str(caught.value)
    assert dataset[1]["img"].shape == (40, 48, 3)


def test_another_kind_of_picture_is_read_by_its_content(tmp_path: Path) -> None:
    root = write_visda(tmp_path)
    grey = Image.fromarray(np.full((40, 48), 7, np.uint8))
    grey.save(root / "train" / "aeroplane" / "0.png")
    assert (build(root)[0]["img"] == 7).all()
