"""Random pictures in the files that CIFAR-10 comes in, and a training on them.

What is in the pictures does not matter to a benchmark; how they are stored and loaded does.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lth_cls.fast  # noqa: F401  (registers)
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import DATASETS

FOLDER = CIFAR10.base_folder
CLASSES = CIFAR10.METAINFO["classes"]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@DATASETS.register_module()
class RandomCIFAR10(CIFAR10):
    """mmpretrain's CIFAR-10, of which any files will do."""

    train_list: ClassVar = [[name, None] for name, _ in CIFAR10.train_list]
    test_list: ClassVar = [[name, None] for name, _ in CIFAR10.test_list]
    meta: ClassVar = {**CIFAR10.meta, "md5": None}


@dataclass(frozen=True)
class Work:
    """What each side has to do.

    Attributes:
        depth: Of the ResNet.
        batch: Pictures in one.
        epochs: Passes over the data, with a validation at the end.
        pictures: For training; a fifth as many validate.
    """

    depth: int
    batch: int
    epochs: int
    pictures: int


def write_cifar(root: Path, pictures: int) -> None:
    """Writes CIFAR-10's files.

    Args:
        root: Data root.
        pictures: In the five files for training; in the one for tests there are a fifth as many.
    """
    draw = np.random.default_rng(0)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]:
        count = pictures // 5
        batch = {
            "batch_label": name,
            "data": draw.integers(0, 256, (count, 3072), np.uint8),
            "labels": draw.integers(0, len(CLASSES), count).tolist(),
            "filenames": [f"{index}.png" for index in range(count)],
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    meta = {"label_names": list(CLASSES)}
    (folder / CIFAR10.meta["filename"]).write_bytes(pickle.dumps(meta))


def backbone(depth: int) -> dict[str, Any]:
    """The ResNet for small pictures, of which every side trains one."""
    return {"type": "ResNet_CIFAR", "depth": depth, "out_indices": (3,)}


def features(depth: int) -> int:
    """How many the head gets."""
    return 512 if depth < 50 else 2048


def stock(work: Work, root: Path, work_dir: Path) -> Config:
    """A training as mmpretrain's own configs have it (``_base_/datasets/cifar10_bs16.py``)."""

    def loader(split: str) -> dict[str, Any]:
        drawn = [
            {"type": "RandomCrop", "crop_size": 32, "padding": 4},
            {"type": "RandomFlip", "prob": 0.5, "direction": "horizontal"},
        ]
        return {
            "batch_size": work.batch,
            "num_workers": 2,
            "persistent_workers": True,
            "sampler": {"type": "DefaultSampler", "shuffle": split == "train"},
            "collate_fn": {"type": "default_collate"},
            "dataset": {
                "type": "RandomCIFAR10",
                "data_root": str(root),
                "split": split,
                "pipeline": [*(drawn if split == "train" else []), {"type": "PackInputs"}],
            },
        }

    return Config(
        {
            "default_scope": "mmpretrain",
            "work_dir": str(work_dir),
            "model": {
                "type": "ImageClassifier",
                "backbone": backbone(work.depth),
                "neck": {"type": "GlobalAveragePooling"},
                "head": {
                    "type": "LinearClsHead",
                    "num_classes": len(CLASSES),
                    "in_channels": features(work.depth),
                    "loss": {"type": "CrossEntropyLoss"},
                },
            },
            "data_preprocessor": {
                "num_classes": len(CLASSES),
                "mean": [255 * value for value in MEAN],
                "std": [255 * value for value in STD],
                "to_rgb": False,
            },
            "train_dataloader": loader("train"),
            "val_dataloader": loader("test"),
            "train_cfg": {
                "by_epoch": True,
                "max_epochs": work.epochs,
                "val_interval": work.epochs,
            },
            "val_cfg": {},
            "val_evaluator": {"type": "Accuracy"},
            "optim_wrapper": {
                "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
            },
            "default_hooks": {
                "logger": {"type": "LoggerHook", "interval": 100},
                "checkpoint": {"type": "CheckpointHook", "interval": work.epochs},
            },
            "env_cfg": {"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}},
            "randomness": {"seed": 0},
            "log_level": "WARNING",
        }
    )


def half_pays() -> bool:
    """Whether a step in bfloat16 is faster than one in float32 here."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def fast(cfg: Config, gpu: bool, half: bool, compiled: bool = False) -> Config:
    """The same training with the keys that make it fast; changed in place."""
    cfg.in_memory = {}
    cfg.custom_hooks = [{"type": "ChannelsLastHook"}]
    cfg.optim_wrapper.optimizer.fused = True
    if half:
        cfg.optim_wrapper.type = "BFloat16OptimWrapper"
    if gpu:
        cfg.env_cfg.cudnn_benchmark = True
    if compiled:
        cfg.compile = True
    return cfg
