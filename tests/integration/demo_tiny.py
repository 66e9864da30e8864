"""A demo small enough for tests, and hooks that make its jobs fail."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from lth_core.cli.exits import guarded
from lth_core.openmmlab.demo import run_demo
from lth_core.openmmlab.demo.plan import Settings
from mmengine.hooks import Hook

ONE = {"train_cfg.max_epochs": 1}
DIGITS = {
    **ONE,
    "train_dataloader.batch_size": 32,
    "train_dataloader.dataset.indices": 64,
}
SCENES = {
    **ONE,
    "train_dataloader.batch_size": 4,
    "train_dataloader.dataset.indices": 4,
    "val_dataloader.dataset.indices": 4,
}
TINY: dict[str, dict[str, Any]] = {
    "pretrain": DIGITS,
    "imp": DIGITS,
    "cls": DIGITS,
    "det": SCENES,
    "seg": SCENES,
}


def tiny(**changes: Any) -> Settings:
    """Settings of a demo with two levels; by stage, what to change about it."""
    overrides = {stage: {**options, **changes.get(stage, {})} for stage, options in TINY.items()}
    return Settings(rounds=1, levels=(1,), random_levels=(1,), imp_epochs=1, overrides=overrides)


class DieHook(Hook):
    """Ends the process as the kernel does when memory runs out."""

    def before_train(self, runner: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class FailHook(Hook):
    """Fails as a mistake in a config does."""

    def before_train(self, runner: Any) -> None:
        raise ValueError("deliberately\nand at length")


if __name__ == "__main__":
    sys.exit(guarded(lambda: run_demo(tiny(), sys.argv[1], sys.argv[2], int(sys.argv[3])), "again"))
