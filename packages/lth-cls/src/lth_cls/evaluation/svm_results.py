"""What linear SVMs on a checkpoint's features are called in files of results."""

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
from lth_core.openmmlab.naming import Names, comparison_digest, stem, task_of
from lth_core.openmmlab.settings import RecordSettings
from lth_core.results import DENSE
from lth_core.ticket import Ticket


def names_of_checkpoint(cfg: Mapping[str, Any], record: RecordSettings, path: str | Path) -> Names:
    """Of a test of a checkpoint: that of a chain's level, one trained from a ticket, or any.

    Checkpoints of one chain have its name in common, so that they make one curve over sparsity.

    Args:
        cfg: The config of the test.
        record: Names that are given.
        path: The checkpoint's.
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
    # The features of a ticket are not those of what has been trained from it.
    start = f"{weights}, start" if is_ticket else weights
    mask = DENSE if sparsity == 0 else record.mask or (f"imp {weights}" if of_level else weights)
    task = {"train_dataloader": cfg.get("test_dataloader"), "model": {"type": "linear SVM"}}
    return Names(
        record.task or task_of(task),
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
