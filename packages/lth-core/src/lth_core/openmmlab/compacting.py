"""Compaction of a config's model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from lth_core.checkpoints import read_state
from lth_core.compaction import Compacted, compact, load
from lth_core.errors import CheckpointError
from lth_core.openmmlab.complexity import tensor_forward
from lth_core.openmmlab.models import build_for_use
from lth_core.randomness import isolated
from lth_core.scope import join_some, misfits


def compact_config(cfg: Config, checkpoint: str | Path, shape: Sequence[int]) -> Compacted:
    """Removes dead channels of a trained model.

    Args:
        cfg: The config that it was trained with.
        checkpoint: Its weights; what is pruned is zero in them.
        shape: Of a picture: channels, height and width.

    Raises:
        CheckpointError: If the checkpoint does not fit the config's model.
        LTHError: If the model cannot be compacted.
    """
    with isolated(0):
        model = build_for_use(cfg)
    state = read_state(checkpoint)
    own = model.state_dict()
    wrong = misfits(own, state)
    if wrong:
        raise CheckpointError(
            f"{checkpoint} does not fit the config's {type(model).__name__}: {join_some(wrong)}; "
            "give the config that it was trained with"
        )
    model.load_state_dict({name: state.get(name, tensor) for name, tensor in own.items()})
    return compact(model, random_pictures(shape), passing)


def random_pictures(shape: Sequence[int]) -> Tensor:
    """Two pictures of noise, as normalized ones are: mean 0 and deviation 1."""
    with isolated(0):
        return torch.randn(2, *shape)


def load_compacted(cfg: Config, path: str | Path) -> nn.Module:
    """The model that ``lth compact`` wrote, in evaluation mode.

    Args:
        cfg: The config that it was made with.
        path: The file.

    Raises:
        CheckpointError: If the file is no such file, is damaged, or does not fit.
    """
    with isolated(0):
        model = build_for_use(cfg)
    load(path, model)
    return model


def passing(model: Any, pictures: Tensor) -> Any:
    """A pass through a model of OpenMMLab that takes no decision by what it sees.

    Of a detector that is its backbone and neck: heads choose among their own proposals. Of others
    it is everything up to raw outputs.
    """
    if any(kind.__name__ == "BaseDetector" for kind in type(model).__mro__):
        return model.extract_feat(pictures)
    return tensor_forward(model, tuple(pictures.shape[2:]))(pictures)
