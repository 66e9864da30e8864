"""CIFAR-10, CIFAR-100, SVHN and Fashion-MNIST in the formats in which they are published."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import scipy.io
import torch
from lth_cls import datasets
from lth_cls.datasets import SplitCIFAR10, SplitCIFAR100, SplitFashionMNIST, SplitSVHN
from lth_cls.datasets.files import require_published
from lth_core.errors import ConfigError
from lth_core.openmmlab.embedded import DataError
from mmpretrain.registry import DATASETS

from .small_data import pictures, write_cifar, write_fashion_mnist, write_svhn

PACK = {"type": "PackInputs"}

SETS: dict[str, tuple[type, Callable[[Path], Path], int, int, tuple[int, ...]]] = {
    # class, writer, training samples, test samples, shape of one as a tensor
    "cifar10": (SplitCIFAR10, write_cifar, 20, 4, (3, 32, 32)),
    "cifar100": (SplitCIFAR100, lambda p: write_cifar(p, "cifar100"), 4, 4, (3, 32, 32)),
    "svhn": (SplitSVHN, write_svhn, 20, 4, (3, 32, 32)),
    "fashion_mnist": (SplitFashionMNIST, write_fashion_mnist, 20, 4, (1, 28, 28)),
}


@pytest.fixture(params=SETS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, ...]:
    kind, writer, *rest = SETS[request.param]
    return kind, writer(tmp_path), *rest


def build(kind: type, root: Path, **settings: Any) -> Any:
    return kind(data_root=str(root), verify=False, **{"val_last": 3, **settings})


def test_the_last_training_samples_are_held_out_in_file_order(small: tuple[Any, ...]) -> None:
    kind, root, train, test, shape = small
    everything = build(kind, root, val_last=0, pipeline=[PACK])
    parts = {part: build(kind, root, part=part, pipeline=[PACK]) for part in datasets.split.PARTS}
    assert [len(parts[p]) for p in ("train", "val", "test")] == [train - 3, 3, test]
    assert len(everything) == train
    for index in range(train):
        sample = parts["train"][index] if index < train - 3 else parts["val"][index - train + 3]
        whole = everything[index]
        assert sample["inputs"].shape == shape
        assert sample["inputs"].dtype == torch.uint8
        assert torch.equal(sample["inputs"], whole["inputs"])
        assert sample["data_samples"].gt_label == whole["data_samples"].gt_label
    assert DATASETS.get(kind.__name__) is kind


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_packed_or_not(packed: bool, tmp_path: Path) -> None:
    root = write_fashion_mnist(tmp_path, packed=packed)
    images, labels = pictures(4, 10, (28, 28), seed=1)
    dataset = build(SplitFashionMNIST, root, part="test")
    assert np.array_equal(dataset[3]["img"], images[3])
    assert dataset.get_gt_labels().tolist() == labels.tolist()


def test_cifar_pixels_are_red_green_blue_planes(tmp_path: Path) -> None:
    dataset = build(SplitCIFAR10, write_cifar(tmp_path))
    rows = pictures(4, 10, (3072,), seed=1)[0]
    image = dataset[5]["img"]  # the second of data_batch_2
    assert image.shape == (32, 32, 3)
    assert np.array_equal(image[..., 0].ravel(), rows[1, :1024])
    assert np.array_equal(image[..., 2].ravel(), rows[1, 2048:])


def test_cifar100_counts_fine_labels(tmp_path: Path) -> None:
    dataset = build(SplitCIFAR100, write_cifar(tmp_path, "cifar100", 40), part="test")
    assert dataset.get_gt_labels().tolist() == list(range(40))
    assert len(dataset.metainfo["classes"]) == 100


def test_svhn_label_ten_is_the_digit_zero(tmp_path: Path) -> None:
    dataset = build(SplitSVHN, write_svhn(tmp_path), val_last=0)
    assert dataset.get_gt_labels().tolist() == [(k % 10 + 1) % 10 for k in range(20)]
    assert np.array_equal(dataset[2]["img"], pictures(20, 10, (32, 32, 3), 0)[0][2])


class _OldDtype:
    """Pickles as numpy of 2009 did, whose dtypes carried flags as numbers."""

    def __reduce__(self) -> Any:
        return np.dtype, ("i8", 0, 1)


def test_pickles_of_old_numpy_raise_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    root = write_cifar(tmp_path)
    path = root / "cifar-10-batches-py" / "test_batch"
    batch = pickle.loads(path.read_bytes()) | {"batch_label": _OldDtype()}
    path.write_bytes(pickle.dumps(batch, protocol=2))
    assert len(build(SplitCIFAR10, root, part="test")) == 4
    assert not [w for w in recwarn if "align" in str(w.message)]


class _Program:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('the pickle ran')",)


def test_a_pickle_runs_no_program(tmp_path: Path) -> None:
    root = write_cifar(tmp_path)
    path = root / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({"data": _Program(), "labels": []}))
    with pytest.raises(DataError, match=r"test_batch is cut short or another file: it names"):
        build(SplitCIFAR10, root, part="test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"part": "validation"}, "part='validation'; choose from train, val, test"),
        ({"val_last": -1}, "val_last=-1"),
        ({"val_last": 5000}, r"val_last=5000 of 20 training samples leaves none for part='train'"),
        ({"val_last": 0, "part": "val"}, "leaves none for part='val'"),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(SplitCIFAR10, write_cifar(tmp_path), **settings)


# Missing, wrong and cut files --------------------------------------------------------------------


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def load_both(kind: type, root: Path, **settings: Any) -> None:
    for part in ("train", "test"):
        build(kind, root, part=part, **settings)


def assert_refused(kind: type, root: Path, path: Path, **settings: Any) -> str:
    with pytest.raises(lth.LTHError) as caught:
        load_both(kind, root, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.absolute()).removesuffix(".gz") in message
    assert "http" in message
    return message


def test_any_missing_file_is_named_with_its_source(small: tuple[Any, ...]) -> None:
    kind, root, *_ = small
    for path in files(root):
        content = path.read_bytes()
        path.unlink()
        message = assert_refused(kind, root, path)
        assert "does not exist" in message
        assert "LTH_DATA_ROOT" in message
        path.mkdir()  # and a folder of that name is no file
        assert_refused(kind, root, path)
        path.rmdir()
        path.write_bytes(content)
    load_both(kind, root)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_any_cut_file_is_named(keep: float, small: tuple[Any, ...]) -> None:
    kind, root, *_ = small
    for path in files(root):
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        assert_refused(kind, root, path)
        path.write_bytes(content)


def test_any_wrong_file_is_named(small: tuple[Any, ...]) -> None:
    kind, root, *_ = small
    for path in files(root):
        content = path.read_bytes()
        for other in (b"<html>not found</html>", bytes(2000), pickle.dumps([1, 2])):
            path.write_bytes(other)
            assert_refused(kind, root, path)
        path.write_bytes(content)


def test_published_files_are_told_from_others_by_checksum(small: tuple[Any, ...]) -> None:
    kind, root, *_ = small
    with pytest.raises(DataError, match=r"its MD5 is [0-9a-f]{32}, that of the published file"):
        kind(data_root=str(root))


def test_a_checksum_is_taken_again_once_a_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    good = "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321
    assert require_published(path, good, "get it") == path
    path.write_bytes(b"abd!")
    with pytest.raises(DataError, match="get it again"):
        require_published(path, good, "get it")


def test_unpacked_fashion_mnist_must_be_complete(tmp_path: Path) -> None:
    root = write_fashion_mnist(tmp_path, packed=False)
    with pytest.raises(DataError, match=r"20 samples, not 60000"):
        SplitFashionMNIST(data_root=str(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((4, 3072), np.float32), "labels": [0] * 4}, "float32"),
        ({"data": np.zeros((4, 100), np.uint8), "labels": [0] * 4}, r"\(4, 100\)"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": [0] * 3}, r"\(3,\) labels"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2, 10]}, "among 0 ... 9"),
        ({"labels": [0] * 4}, "'data'"),
    ],
)
def test_cifar_batches_that_do_not_add_up(content: Any, message: str, tmp_path: Path) -> None:
    root = write_cifar(tmp_path)
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        build(SplitCIFAR10, root, part="test")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((32, 32, 3, 4), np.uint8), np.array([1, 2, 3, 11]), "among 1 ... 10"),
        (np.zeros((32, 32, 3, 4), np.uint8), np.array([1, 2, 3]), "3 labels"),
        (np.zeros((4, 32, 32, 3), np.uint8), np.array([1, 2, 3, 4]), r"\(4, 32, 32, 3\)"),
    ],
)
def test_svhn_files_that_do_not_add_up(
    images: np.ndarray, labels: np.ndarray, message: str, tmp_path: Path
) -> None:
    root = write_svhn(tmp_path)
    scipy.io.savemat(root / "test_32x32.mat", {"X": images, "y": labels[:, None]})
    with pytest.raises(DataError, match=message):
        build(SplitSVHN, root, part="test")


def test_fashion_mnist_files_that_do_not_add_up(tmp_path: Path) -> None:
    root = write_fashion_mnist(tmp_path)
    path = root / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\3\1\2\3"))
    with pytest.raises(DataError, match=r"3 labels of \(4, 28, 28\) pictures"):
        build(SplitFashionMNIST, root, part="test")
    path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\4\1\2\3\x0a"))
    with pytest.raises(DataError, match=r"among 0 ... 9"):
        build(SplitFashionMNIST, root, part="test")
