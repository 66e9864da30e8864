"""A study of scenes small enough for tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "studies"))

from lth_core.cli.exits import guarded
from scenes import STUDY
from scenes_plan import Settings

ONE = {"train_cfg.max_epochs": 1, "train_dataloader.batch_size": 4}
DIGITS = {**ONE, "train_dataloader.dataset.indices": 8}
SCENES = {**DIGITS, "val_dataloader.dataset.indices": 4}
PRE = {"pretrain": DIGITS, "imp": DIGITS}
TINY = Settings(
    seeds=(0,),
    rounds=1,
    levels=(1,),
    variant_levels=(1,),
    imp_epochs=1,
    overrides={**PRE, "det": SCENES, "seg": SCENES},
)

if __name__ == "__main__":
    sys.exit(guarded(lambda: STUDY.run(TINY, sys.argv[1], 1, "the command"), go_on="again"))
