"""Two views of each image for SimCLR and MoCo v2: images a second, mmpretrain's pipeline and ours.

    python benchmarks/ssl_views.py [--small] [--batch 256] [--rounds 20] [--output FILE]

Each side makes the same two views of the same pictures (256 x 256 pixels of noise that has been
blurred; ``--small``: 40 x 40, views of 32), from a decoded picture to the model's input,
normalisation included:

- ``stock``: mmpretrain's transforms in workers, as the config has them;
- ``device views``: crops in workers, the rest on the device (``device_views``);
- ``in memory``: everything on the device (``in_memory``).

Sides take turns batch by batch; workers of one prepare batches while another is timed, which is in
favour of those that have workers, so ``--workers 0`` is the default where there is no GPU. With
``--small`` the whole takes about a minute on a CPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lth_cls  # noqa: F401  (registers the transforms)
import numpy as np
import torch
from _common import arguments, interleave, report
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.keys import apply_package_keys
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

CONFIGS = Path(__file__).parents[1] / "configs/_base_/datasets"
METHODS = {"SimCLR": "imagenet_simclr.py", "MoCo v2": "imagenet_mocov2.py"}
SIDES: dict[str, dict[str, Any]] = {
    "stock": {},
    "device views": {"device_views": {}},
    "in memory": {"in_memory": {"loaders": ["train"]}},
}


@DATASETS.register_module()
class SoftNoise(BaseDataset):
    """Pictures of blurred noise, decoded already: what is timed is what comes after decoding."""

    def __init__(self, count: int, size: int, **kwargs: Any) -> None:
        self.count, self.size = count, size
        super().__init__(ann_file="", **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The pictures, ``(size, size, 3)`` uint8."""
        random = np.random.default_rng(0)
        shape = (self.size, self.size, 3)
        noise = (random.integers(0, 256, shape, dtype=np.uint8) for _ in range(self.count))
        return [{"img": cv2.GaussianBlur(each, (0, 0), 2), "gt_label": 0} for each in noise]


def config(file: str, side: str, args: argparse.Namespace) -> Config:
    """Of the data alone."""
    cfg = load_config(str(CONFIGS / file))
    _, views, pack = cfg.train_dataloader.dataset.pipeline
    for step in views.transforms[0]:
        if step.type == "RandomResizedCrop":
            step.scale = args.view
    dataset = {"type": "SoftNoise", "count": args.pictures, "size": args.size}
    cfg.train_dataloader.dataset = {**dataset, "pipeline": [views, pack]}
    cfg.train_dataloader.batch_size = args.batch
    cfg.train_dataloader.num_workers = args.workers
    cfg.train_dataloader.persistent_workers = args.workers > 0
    cfg.val_dataloader = cfg.test_dataloader = None
    cfg.merge_from_dict(SIDES[side])
    apply_package_keys(cfg)
    return cfg


def stream(cfg: Config, device: str) -> Callable[[], object]:
    """Makes one batch a call, without end, ready for the model."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        loader = LTHRunner.build_dataloader(cfg.train_dataloader, seed=0)
        preprocessor = MODELS.build(cfg.data_preprocessor).to(device)

    def endless() -> Any:
        while True:
            yield from loader

    batches = endless()
    return lambda: preprocessor(next(batches), True)["inputs"]


def main() -> None:
    """Times all sides of both methods."""
    parser = arguments(__doc__)
    gpu = torch.cuda.is_available()
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) if gpu else 0)
    args = parser.parse_args()
    small = args.small
    args.size, args.view = (40, 32) if small else (256, 224)
    args.batch = args.batch or (256 if gpu and not small else 32)
    args.rounds = args.rounds or (20 if gpu and not small else 6)
    args.pictures = args.pictures or (2048 if gpu and not small else 128)
    device, rows = "cuda" if gpu else "cpu", []
    for method, file in METHODS.items():
        sides = {side: stream(config(file, side, args), device) for side in SIDES}
        seconds = interleave(sides, args.rounds, warm_up=2, device=device)
        for side, each in seconds.items():
            speeds = [args.batch / second for second in each]
            low, _, high = statistics.quantiles(speeds, n=4)
            pairs = zip(seconds["stock"], each, strict=True)
            rows.append(
                {
                    "side": f"{method}, {side}",
                    "images/s": statistics.median(speeds),
                    "quartiles": f"{low:.4g} to {high:.4g}",
                    "times stock": statistics.median(s / e for s, e in pairs),
                }
            )
    title = f"Two views of {args.view} pixels, batches of {args.batch}, {args.workers} workers"
    report(f"{title}, {device}", rows, args.output)


if __name__ == "__main__":
    main()
