"""Tests of checkpoints: what they are called in files of results, and loops that write there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lth_core.backbones import load_backbone
from lth_core.checkpoints import read_checkpoint
from lth_core.errors import LTHError
from lth_core.openmmlab.hooks import CHECKPOINT_KEY
from lth_core.openmmlab.models import load_trained
from lth_core.openmmlab.naming import Names, comparison_digest, stem, task_of
from lth_core.openmmlab.recording import record, results_of
from lth_core.openmmlab.settings import RecordSettings, parse_record
from lth_core.results import DENSE
from lth_core.ticket import Ticket
from mmengine.dist import is_main_process
from mmengine.runner import TestLoop


class RecordedTest(TestLoop):
    """A test whose numbers go into the work directory's file of results too.

    That is so for a checkpoint that is tested by itself, as by ``lth test``; what a training tests
    when it has ended is the training's own.
    """

    checkpoint: str | None = None

    def load_checkpoint(self, path: str) -> None:
        """Gives the model what is in a file, and remembers its name.

        Raises:
            CheckpointError: If the file does not have all of the model's weights.
        """
        load_trained(self.runner.load_checkpoint, path)
        self.checkpoint = path

    def record(self, metrics: Mapping[str, float], model: Any = None) -> None:
        """Writes the numbers.

        Args:
            metrics: By their names.
            model: What is tested, as a config; None for the model of the runner's.
        """
        if self.checkpoint is None or not is_main_process():
            return
        place, cfg = Path(self.runner.work_dir), self.runner.cfg
        told = cfg.to_dict() if model is None else {"model": model}
        tested = {**told, "train_dataloader": cfg.get("test_dataloader")}
        settings = parse_record(cfg.get("record"))
        names = names_of_checkpoint(cfg, settings, self.checkpoint, task_of(tested))
        record(place, results_of(place, place, names, self.runner.seed, metrics))


def names_of_checkpoint(
    cfg: Mapping[str, Any], record: RecordSettings, path: str | Path, task: str
) -> Names:
    """Of a test of a checkpoint: that of a chain's level, one trained from a ticket, or any.

    Checkpoints of one chain have its name in common, so that they make one curve over sparsity.

    Args:
        cfg: The config of the test.
        record: Names that are given.
        path: The checkpoint's.
        task: What is tested, where ``record`` does not name it.
    """
    folder = Path(path).absolute().parent
    is_ticket, sparsity = _is_ticket(path), sparsity_of(path)
    of_level = re.fullmatch(r"level_(\d+)", folder.name)
    if of_level:
        weights, level = folder.parent.name, int(of_level[1])
    else:
        weights = stem(path)
        # The usual level of about this sparsity, by prunes of 20 %.
        level = max(1, round(math.log(1 - sparsity) / math.log(0.8))) if 0 < sparsity < 1 else 0
    # What a ticket starts from is not what has been trained from it.
    start = f"{weights}, start" if is_ticket else weights
    mask = DENSE if sparsity == 0 else record.mask or (f"imp {weights}" if of_level else weights)
    return Names(
        record.task or task,
        record.weights or start,
        mask,
        level,
        sparsity,
        config=comparison_digest(cfg),
    )


def sparsity_of(path: str | Path) -> float:
    """Of the masks that a ticket or a checkpoint of a masked training holds; 0 if it has none."""
    if _is_ticket(path):
        return Ticket.load(path).masks.sparsity
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # safetensors, and whatever else only load_backbone reads: no masks of ours
        return 0.0
    masks = content.get(CHECKPOINT_KEY, {}).get("masks", {}) if isinstance(content, dict) else {}
    try:
        weights = load_backbone(path)
        total = sum(weights[name].numel() for name in masks)
    except (KeyError, LTHError):
        return 0.0
    kept = sum(int(np.unpackbits(packed.numpy()).sum()) for packed in masks.values())
    return 1 - kept / total if total else 0.0


def _is_ticket(path: str | Path) -> bool:
    return any(name.startswith("mask/") for name in read_checkpoint(path).model)
