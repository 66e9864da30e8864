"""CIFAR-10-C and CIFAR-100-C in the published format, and the test over all of their files."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_cls.datasets import CIFAR10C, CIFAR100C
from lth_cls.datasets.corruptions import CORRUPTIONS, FURTHER
from lth_core import results
from lth_core.cli import main
from lth_core.errors import ConfigError
from lth_core.openmmlab.embedded import DataError
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from ..small_data import pictures, write_corruptions
from .linear import Flat

PACK = {"type": "PackInputs"}


def build(root: Path, kind: Any = CIFAR10C, **settings: Any) -> Any:
    asked = {"corruption": "fog", "severity": 3, "verify": False, "pipeline": [PACK], **settings}
    return kind(data_root=str(root), **asked)


@pytest.mark.parametrize(("kind", "classes"), [(CIFAR10C, 10), (CIFAR100C, 100)])
def test_severities_are_blocks_of_the_file(kind: Any, classes: int, tmp_path: Path) -> None:
    root = write_corruptions(tmp_path, ("fog", "saturate"), each=6, classes=classes)
    assert DATASETS.get(kind.__name__) is kind
    assert len(kind.METAINFO["classes"]) == classes
    for (seed, name), severity in itertools.product(enumerate(("fog", "saturate")), range(1, 6)):
        dataset = build(root, kind, corruption=name, severity=severity)
        rows = pictures(30, classes, (32, 32, 3), seed)[0]
        assert len(dataset) == 6
        for index in range(6):
            sample = dataset[index]
            row = rows[6 * (severity - 1) + index]
            assert np.array_equal(sample["inputs"].permute(1, 2, 0).numpy(), row)
            assert sample["data_samples"].gt_label == index


def test_files_are_mapped_and_workers_read_them_too(tmp_path: Path) -> None:
    root = write_corruptions(tmp_path, each=40)
    dataset = build(root)
    assert isinstance(dataset._map(dataset.file), np.memmap)
    assert len(pickle.dumps(dataset)) < (root / "fog.npy").stat().st_size / 10
    loader = DataLoader(dataset, 20, num_workers=1, collate_fn=lambda batch: batch)
    rows = pictures(200, 10, (32, 32, 3), 0)[0][80:120]
    read = [each["inputs"].permute(1, 2, 0).numpy() for batch in loader for each in batch]
    assert np.array_equal(np.stack(read), rows)


def test_at_224_pixels(tmp_path: Path) -> None:
    pipeline = [
        {"type": "ResizeEdge", "scale": 256},
        {"type": "CenterCrop", "crop_size": 224},
        PACK,
    ]
    sample = build(write_corruptions(tmp_path), pipeline=pipeline)[0]
    assert sample["inputs"].shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"corruption": "mist"}, "choose from gaussian_noise, "),
        ({"severity": 0}, "from 1 to 5"),
        ({"severity": True}, "from 1 to 5"),
        ({"severity": 6}, "from 1 to 5"),
    ],
)
def test_unknown_settings_are_said(settings_: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        build(write_corruptions(tmp_path), **settings_)


def damage(root: Path, kind: str) -> None:
    fog, labels = root / "fog.npy", root / "labels.npy"
    if kind == "missing":
        fog.unlink()
    elif kind == "no labels":
        labels.unlink()
    elif kind == "cut short":
        fog.write_bytes(fog.read_bytes()[:-1])
    elif kind == "empty":
        fog.write_bytes(b"")
    elif kind == "floats":
        np.save(fog, np.zeros((20, 32, 32, 3)))
    elif kind == "planes":
        np.save(fog, np.zeros((20, 3, 32, 32), np.uint8))
    elif kind == "no blocks":
        np.save(fog, np.zeros((19, 32, 32, 3), np.uint8))
    elif kind == "objects":
        np.save(fog, np.array([{}, {}], dtype=object))
    elif kind == "few labels":
        np.save(labels, np.zeros(5, int))
    elif kind == "other labels":
        np.save(labels, np.full(20, 10))
    else:
        np.save(labels, np.zeros(20))


@pytest.mark.parametrize(
    "kind",
    ["missing", "no labels", "cut short", "empty", "floats", "planes", "no blocks", "objects",
     "few labels", "other labels", "labels of floats"],
)  # fmt: skip
def test_damaged_files_are_one_line(kind: str, tmp_path: Path) -> None:
    root = write_corruptions(tmp_path)
    damage(root, kind)
    with pytest.raises(DataError) as problem:
        build(root)
    said = str(problem.value)
    assert ("labels.npy" if "labels" in kind else "fog.npy") in said
    assert "CIFAR-10-C.tar" in said
    assert "\n" not in said


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 127), byte=st.integers(0, 255))
def test_a_changed_header_is_read_or_refused(place: int, byte: int, tmp_path_factory: Any) -> None:
    root = write_corruptions(tmp_path_factory.mktemp("c"), each=1)
    content = bytearray((root / "fog.npy").read_bytes())
    content[place] = byte
    (root / "fog.npy").write_bytes(content)
    problem = ""
    try:
        assert len(build(root)) == 1
    except DataError as found:
        problem = str(found)
    assert "\n" not in problem


def test_published_sizes_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"20 pictures, not 5 times 10,000"):
        build(write_corruptions(tmp_path), verify=True)


# The test over all of them -----------------------------------------------------------------------


def loop(root: Path, work_dir: Path, **settings: Any) -> Config:
    """A linear model whose scores are the sums of tenths of the picture."""
    loader = {
        "batch_size": 3,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "default_collate"},
        "dataset": {"type": "SplitCIFAR10", "part": "test", "pipeline": [PACK]},
    }
    dataset = {"type": "CIFAR10C", "data_root": str(root), "verify": False}
    head = {"type": "LinearClsHead", "num_classes": 10, "in_channels": 3072}
    return Config(
        {
            "default_scope": "mmpretrain",
            "work_dir": str(work_dir),
            "randomness": {"seed": 1},
            "model": {"type": "ImageClassifier", "backbone": {"type": Flat.__name__}, "head": head},
            "test_dataloader": loader,
            "test_evaluator": {"type": "Accuracy", "topk": (1,)},
            "test_cfg": {"type": "CorruptionTestLoop", "dataset": dataset, **settings},
        }
    )


def test_accuracy_of_each_set_and_their_mean(tmp_path: Path) -> None:
    names = ("fog", "snow")
    root = write_corruptions(tmp_path, names, each=20)
    weight = torch.randn(10, 3072, generator=torch.Generator().manual_seed(0))
    state = {"head.fc.weight": weight, "head.fc.bias": torch.zeros(10)}
    torch.save({"state_dict": state}, tmp_path / "linear.pth")
    cfg = loop(root, tmp_path / "work", corruptions=names, severities=(1, 5))
    cfg.dump(tmp_path / "config.py")
    arguments = ["test", str(tmp_path / "config.py"), str(tmp_path / "linear.pth")]
    assert main([*arguments, "--work-dir", str(tmp_path / "work")]) == 0
    found = {each.metric: each for each in results.read([tmp_path / "work"])}
    expected = {}
    for (seed, name), severity in itertools.product(enumerate(names), (1, 5)):
        block = pictures(100, 10, (32, 32, 3), seed)[0][20 * (severity - 1) : 20 * severity]
        inputs = torch.from_numpy(block).permute(0, 3, 1, 2).flatten(1).double()
        right = (inputs @ weight.double().T).argmax(1) == torch.arange(20) % 10
        expected[f"accuracy/top1/{name}-{severity}"] = 100 * right.double().mean().item()
    assert len(set(expected.values())) > 1
    expected["accuracy/top1/corruptions"] = sum(expected.values()) / 4
    assert {name: each.value for name, each in found.items()} == pytest.approx(expected)
    assert {(each.weights, each.task) for each in found.values()} == {
        ("linear", "SplitCIFAR10 Flat")
    }


def test_all_fifteen_are_looked_for_before_any_is_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(CORRUPTIONS) == 15
    assert not set(CORRUPTIONS) & set(FURTHER)
    root = write_corruptions(tmp_path, CORRUPTIONS[:-1], each=1)
    loop(root, tmp_path / "work", severities=(1,)).dump(tmp_path / "config.py")
    torch.save({"state_dict": {}}, tmp_path / "any.pth")
    assert main(["test", str(tmp_path / "config.py"), str(tmp_path / "any.pth")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "jpeg_compression.npy does not exist" in said[-1]
