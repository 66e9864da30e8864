"""A study of transfer small enough for tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "studies"))

from lth_core.cli.exits import guarded
from transfer import STUDY
from transfer_plan import Settings

ONE = {"train_cfg.max_epochs": 1}
PRE = {**ONE, "train_dataloader.batch_size": 16, "train_dataloader.dataset.indices": 32}
DOWN = {
    **ONE,
    "train_dataloader.batch_size": 10,
    "train_dataloader.dataset.per_class": 4,
    "val_dataloader.dataset.indices": 50,
}
TINY = Settings(
    seeds=(0,),
    rounds=1,
    levels=(1,),
    variant_levels=(1,),
    imp_epochs=1,
    overrides={"pretrain": PRE, "imp": PRE, "task_imp": DOWN, "transfer": DOWN},
)

if __name__ == "__main__":
    sys.exit(guarded(lambda: STUDY.run(TINY, sys.argv[1], 2, "the command"), go_on="again"))
