"""A study of double-win tickets small enough for tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "studies"))

from double_win import STUDY
from double_win_plan import Settings
from lth_core.cli.exits import guarded

ONE = {"train_cfg.max_epochs": 1, "val_dataloader.dataset.indices": 25}
PRE = {**ONE, "train_dataloader.batch_size": 16, "train_dataloader.dataset.indices": 32}
TINY = Settings(
    seeds=(0,),
    rounds=1,
    levels=(1,),
    variant_levels=(1,),
    imp_epochs=1,
    overrides={
        "pretrain": PRE,
        "imp": PRE,
        "standard": ONE,
        "adversarial": ONE,
        "audit": {
            "test_dataloader.dataset.indices": 25,
            "test_cfg.attacks.pgd-100.steps": 2,
            "test_cfg.attacks.square.queries": 5,
        },
    },
)

if __name__ == "__main__":
    sys.exit(guarded(lambda: STUDY.run(TINY, sys.argv[1], 2, "the command"), go_on="again"))
