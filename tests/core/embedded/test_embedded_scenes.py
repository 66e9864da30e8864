import dataclasses
import hashlib
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from lth_core.errors import LTHError
from lth_core.openmmlab import embedded
from lth_core.openmmlab.embedded.scenes import IGNORE
from PIL import Image

SETTINGS = embedded.SceneSettings(train_images=12, test_images=6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        yield embedded.scenes_root(settings=SETTINGS)


def scenes(split, count=40, seed=0):
    return [embedded.compose(embedded.SceneSettings(), split, i, seed) for i in range(count)]


@pytest.mark.parametrize("split", ["train", "test"])
def test_scenes_use_only_digits_of_their_split(split):
    allowed = set(embedded.digits(split).indices)
    used = {source for scene in scenes(split) for source in scene.sources}
    assert used <= allowed
    assert len(used) > 60


def test_boxes_are_the_extents_of_the_pasted_pixels():
    for scene in scenes("train"):
        assert set(np.unique(scene.instances)) - {0, IGNORE} == set(range(1, len(scene.labels) + 1))
        for number, (box, label) in enumerate(zip(scene.boxes, scene.labels, strict=True), 1):
            ys, xs = np.nonzero(scene.instances == number)
            assert [xs.min(), ys.min(), xs.max(), ys.max()] == box.tolist()
            assert set(scene.classes[ys, xs]) == {label + 1}


def test_class_and_instance_maps_agree():
    for scene in scenes("test"):
        assert np.array_equal(scene.classes == 0, scene.instances == 0)
        assert np.array_equal(scene.classes == IGNORE, scene.instances == IGNORE)


def test_scenes_are_varied_and_hold_the_promised_digits():
    many = scenes("train", 60)
    counts = [len(scene.labels) for scene in many]
    assert min(counts) >= 1
    assert max(counts) == embedded.SceneSettings().digits[1]
    heights = np.concatenate([s.boxes[:, 3] - s.boxes[:, 1] + 1 for s in many])
    assert heights.max() > 1.5 * heights.min()
    assert set(np.concatenate([s.labels for s in many])) == set(range(10))


def test_digits_stand_out_from_what_they_lie_on():
    settings = dataclasses.replace(embedded.SceneSettings(), noise=0.0)
    luminance = np.array([0.299, 0.587, 0.114])
    for index in range(10):
        scene = embedded.compose(settings, "train", index)
        grey = scene.image @ luminance
        for number, (x1, y1, x2, y2) in enumerate(scene.boxes, 1):
            inside = scene.instances[y1 : y2 + 1, x1 : x2 + 1]
            window = grey[y1 : y2 + 1, x1 : x2 + 1]
            if (inside == 0).sum() > 20:
                difference = window[inside == number].mean() - window[inside == 0].mean()
                assert abs(difference) > 0.4 * settings.contrast


def test_a_scene_does_not_depend_on_how_many_are_made_or_on_the_other_splits():
    again = embedded.compose(embedded.SceneSettings(train_images=1), "train", 5)
    assert np.array_equal(again.image, scenes("train", 6)[5].image)
    assert not np.array_equal(again.image, scenes("train", 6, seed=1)[5].image)
    assert not np.array_equal(again.image, scenes("test", 6)[5].image)


def test_scenes_are_the_same_on_every_machine():
    digest = hashlib.sha256()
    for scene in scenes("test", 4):
        for array in (scene.image, scene.classes, scene.instances, scene.boxes, scene.labels):
            digest.update(array.tobytes())
    assert digest.hexdigest() == "fe18d19208cead260ad7212368169c06c1fc2f89e8d78befe992f7be5b2b1de2"


def test_settings_that_cannot_be_met_are_refused():
    with pytest.raises(LTHError, match="largest digit does not fit into image_size=32"):
        embedded.SceneSettings(image_size=32)
    with pytest.raises(LTHError, match="smallest first"):
        embedded.SceneSettings(digits=(5, 2))


@pytest.mark.parametrize("split", ["train", "test"])
def test_folder_reads_back_as_the_composed_scenes(root, split):
    names = (root / f"ImageSets/Main/{split}.txt").read_text().split()
    assert len(names) == {"train": 12, "test": 6}[split]
    assert names == (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()
    for index, name in enumerate(names):
        scene = embedded.compose(SETTINGS, split, index)
        picture = np.asarray(Image.open(root / f"JPEGImages/{name}.jpg"))
        assert picture.shape == scene.image.shape
        assert np.abs(picture.astype(int) - scene.image).mean() < 4
        for folder, expected in (
            ("SegmentationClass", scene.classes),
            ("SegmentationObject", scene.instances),
        ):
            labels = Image.open(root / f"{folder}/{name}.png")
            assert labels.mode == "P"
            assert labels.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
            assert np.array_equal(np.asarray(labels), expected)
        tree = ET.parse(root / f"Annotations/{name}.xml")
        assert tree.findtext("filename") == f"{name}.jpg"
        assert [tree.findtext(f"size/{k}") for k in ("width", "height", "depth")] == [
            str(SETTINGS.image_size),
            str(SETTINGS.image_size),
            "3",
        ]
        found = [
            (
                item.findtext("name"),
                [int(item.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")],
            )
            for item in tree.iter("object")
        ]
        expected = [
            (str(label), (box + 1).tolist())
            for label, box in zip(scene.labels, scene.boxes, strict=True)
        ]
        assert found == expected


def test_palette_is_that_of_voc():
    assert embedded.PALETTE[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert len(set(embedded.PALETTE)) == len(embedded.CLASSES) + 1
