"""A study of pruning with self-supervision small enough for tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "studies"))

from lth_core.cli.exits import guarded
from self_supervision import STUDY
from self_supervision_plan import Settings

OTHER = {
    "train_cfg.max_epochs": 1,
    "train_dataloader.batch_size": 12,
    "train_dataloader.dataset.per_class": 4,
    "val_dataloader.dataset.indices": 50,
}
TINY = Settings(
    seeds=(0,),
    rounds=1,
    levels=(1,),
    variant_levels=(1,),
    imp_epochs=1,
    overrides={"other": OTHER, "other_imp": OTHER, "features": OTHER},
)

if __name__ == "__main__":
    sys.exit(guarded(lambda: STUDY.run(TINY, sys.argv[1], 2, "the command"), go_on="again"))
