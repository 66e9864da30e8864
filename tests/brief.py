"""A short run of a config of this project: builds all of it, trains two steps, evaluates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
SCENES = {"train_images": 8, "test_images": 4}


def run_briefly(config: str, work_dir: Path, **options: Any) -> LTHRunner:
    """Trains two steps of four samples each.

    Args:
        config: Path under ``configs``.
        work_dir: Where the run may write.
        **options: Config settings, double underscores between keys.
    """
    cfg = load_config(str(CONFIGS / config))
    for loader in (cfg.train_dataloader, cfg.get("val_dataloader")):
        if loader is not None:
            loader.batch_size = 4
            loader.dataset.indices = 8
    cfg.train_cfg.max_epochs = 1
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    return runner


def assert_trained(runner: LTHRunner) -> None:
    """Two steps were made, the loss is a number, and only the last checkpoint was written."""
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    assert [path.name for path in Path(runner.work_dir).glob("*.pth")] == ["epoch_1.pth"]


def backbone_shapes(runner: LTHRunner) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's backbone."""
    return {name: tuple(t.shape) for name, t in runner.model.backbone.state_dict().items()}
