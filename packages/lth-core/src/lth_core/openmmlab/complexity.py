"""Parameters and FLOPs of a config's model, dense and with the masks of a ticket or checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from lth_core.checkpoints import read_checkpoint
from lth_core.counts import Counts, count
from lth_core.errors import CheckpointError, ConfigError, LTHError
from lth_core.masks import MaskSet, unpack_bits
from lth_core.openmmlab.hooks import CHECKPOINT_KEY
from lth_core.openmmlab.models import build_for_use
from lth_core.randomness import isolated
from lth_core.ticket import Ticket


def count_config(cfg: Config, masks: MaskSet | None, shape: Sequence[int]) -> Counts:
    """Counts one picture's pass through the model of ``cfg``, heads included.

    What serves training alone (a segmentor's auxiliary heads) is left out, and weights are the
    constructors': of a detector of two stages the FLOPs are those of the proposals that it makes
    of noise, as in mmdet's own ``get_flops.py`` without its data.

    Args:
        cfg: A complete config.
        masks: What is pruned; None for the dense model.
        shape: Of the picture as the model gets it, padded: channels, height and width.

    Returns:
        The counts of every module.

    Raises:
        LTHError: If the masks do not fit, or the model cannot be run on such a picture.
    """
    with isolated(0):
        model = build_for_use(cfg)
        picture = torch.rand(1, *shape)
        try:
            return count(model, masks, picture, tensor_forward(model, tuple(shape[1:])))
        except LTHError:
            raise
        except Exception as problem:
            reason = (str(problem).splitlines() or [type(problem).__name__])[0]
            raise ConfigError(
                f"{type(model).__name__} cannot be run on a picture of "
                f"{' x '.join(map(str, shape))}: {reason}; give another --shape"
            ) from problem


def tensor_forward(model: nn.Module, size: tuple[int, ...]) -> partial[object]:
    """OpenMMLab's pass that gives raw outputs, for a picture of that height and width."""
    sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size)
    sample = BaseDataElement(metainfo={**sizes, "scale_factor": (1.0, 1.0)})
    return partial(model.forward, data_samples=[sample], mode="tensor")


def read_masks(path: str | Path) -> MaskSet:
    """The masks in a ticket file, or in a checkpoint of a training with masks.

    Raises:
        LTHError: If the file is missing or unreadable, or has no masks.
    """
    if Path(path).suffix == ".safetensors":
        return Ticket.load(path).masks
    checkpoint = read_checkpoint(path)
    start = f"{CHECKPOINT_KEY}.masks."
    masks = {}
    for name, packed in checkpoint.beside.items():
        if name.startswith(start):
            name = name.removeprefix(start)
            where = [w for w in checkpoint.model if f".{w}".endswith(f".{name}")]
            if not where:
                raise CheckpointError(f"{path} has a mask of {name}, but no such weight")
            masks[name] = unpack_bits(packed.numpy(), tuple(checkpoint.model[where[0]].shape))
    if not masks:
        raise CheckpointError(
            f"{path} has no masks: it was not trained from a ticket; name the ticket instead"
        )
    return MaskSet(masks)
