"""Small data sets in the formats in which the real ones are published."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

CIFAR10_FILES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


def pictures(count: int, classes: int, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """Noise, and labels in turn: ``(count, *shape)`` uint8 and ``(count,)``."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    return noise, np.arange(count) % classes


def write_cifar(folder: Path, kind: str = "cifar10", each: int = 4) -> Path:
    """CIFAR's Python version with ``each`` pictures a file; returns the data root."""
    root = folder / kind
    if kind == "cifar10":
        base, files, key, classes = "cifar-10-batches-py", CIFAR10_FILES, "labels", 10
    else:
        base, files, key, classes = "cifar-100-python", ["train", "test"], "fine_labels", 100
    (root / base).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(files):
        images, labels = pictures(each, classes, (3072,), seed)
        batch = {"batch_label": name, "data": images, key: labels.tolist(), "filenames": []}
        if kind == "cifar100":
            batch["coarse_labels"] = [0] * each
        (root / base / name).write_bytes(pickle.dumps(batch, protocol=2))
    return root


def write_svhn(folder: Path, train: int = 20, test: int = 4) -> Path:
    """SVHN's two .mat files; returns the data root."""
    root = folder / "svhn"
    root.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate((("train", train), ("test", test))):
        images, labels = pictures(count, 10, (32, 32, 3), seed)
        content = {"X": images.transpose(1, 2, 3, 0), "y": (labels + 1).astype(np.uint8)[:, None]}
        scipy.io.savemat(root / f"{name}_32x32.mat", content, do_compression=True)
    return root


def write_fashion_mnist(folder: Path, train: int = 20, test: int = 4, packed: bool = True) -> Path:
    """Fashion-MNIST's four idx files; returns the data root."""
    root = folder / "fashion_mnist"
    root.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate((("train", train), ("t10k", test))):
        images, labels = pictures(count, 10, (28, 28), seed)
        for file, magic, array in (
            (f"{name}-images-idx3-ubyte", 0x0803, images),
            (f"{name}-labels-idx1-ubyte", 0x0801, labels.astype(np.uint8)),
        ):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            data = magic.to_bytes(4, "big") + sizes + array.tobytes()
            (root / (file + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    return root


def write_visda(folder: Path, train: int = 8, validation: int = 4) -> Path:
    """VisDA2017's lists and pictures; returns the data root."""
    root = folder / "visda2017"
    names = ("aeroplane", "bicycle", "bus")
    for seed, (domain, count) in enumerate((("train", train), ("validation", validation))):
        images, labels = pictures(count, 3, (40, 48, 3), seed)
        lines = []
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = f"{names[label]}/{index}.{'png' if domain == 'train' else 'jpg'}"
            (root / domain / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / domain / name)
            lines.append(f"{name} {label}\n")
        (root / domain / "image_list.txt").write_text("".join(lines))
    return root


WRITERS = {
    "cifar10": write_cifar,
    "cifar100": lambda folder: write_cifar(folder, "cifar100", 20),
    "svhn": write_svhn,
    "fashion_mnist": write_fashion_mnist,
    "visda2017": write_visda,
}
"""By the name of the folder under ``LTH_DATA_ROOT``."""


def write_corruptions(
    folder: Path, names: tuple[str, ...] = ("fog",), each: int = 4, classes: int = 10
) -> Path:
    """CIFAR-10-C's files with ``each`` pictures of each severity; returns the data root."""
    root = folder / f"CIFAR-{classes}-C"
    root.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        np.save(root / f"{name}.npy", pictures(5 * each, classes, (32, 32, 3), seed)[0])
    np.save(root / "labels.npy", np.tile(np.arange(each) % classes, 5))
    return root
