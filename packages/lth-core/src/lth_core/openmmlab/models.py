"""Models built from a config alone, without a runner."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from lth_core.errors import CheckpointError
from lth_core.openmmlab.refusals import explained
from lth_core.scope import join_some

_SIZE = re.compile(r"size mismatch for (\S+): .*?Size\(\[(.*?)\]\).*?Size\(\[(.*?)\]\)")
_MISSING = re.compile(r"missing keys in source state_dict: (.*)")


def build_model(cfg: Config, model: Any = None) -> nn.Module:
    """The model of ``cfg``, as its constructors leave it.

    Args:
        cfg: Names the family in whose registry the model's parts are. Not changed.
        model: The model's own config; None for that of ``cfg``.

    Raises:
        ConfigError: If the config names or gives something that OpenMMLab refuses.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        settings = copy.deepcopy(cfg.model if model is None else model)
        if model is None and cfg.get("data_preprocessor"):  # as mmengine's runner does
            settings.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
        with explained():
            return MODELS.build(settings)


def build_for_use(cfg: Config) -> nn.Module:
    """The same without what serves training alone: a segmentor's auxiliary heads, shared norms."""
    model = revert_sync_batchnorm(build_model(cfg))
    if getattr(model, "auxiliary_head", None) is not None:
        model.auxiliary_head = None
    return model


def load_trained(load: Callable[..., Any], path: str) -> Any:
    """Loads all of a trained model; mmengine alone only warns of what a file does not have.

    Args:
        load: Takes ``path`` and ``strict``, as mmengine's runners' ``load_checkpoint`` does.
        path: The checkpoint. What it has beyond the model is left.

    Returns:
        What ``load`` returns.

    Raises:
        CheckpointError: If the file lacks weights of the model or has them in other shapes: what
            was there before, random numbers mostly, would be taken for trained.
    """
    try:
        return load(path, strict=True)
    except RuntimeError as problem:
        said = str(problem)
        sizes = _SIZE.findall(said)
        problems = [f"{name} is ({theirs}), not ({ours})" for name, theirs, ours in sizes]
        missing = _MISSING.search(said)
        problems += [f"{name} is missing" for name in missing[1].split(", ")] if missing else []
        if problems:
            raise CheckpointError(
                f"{path} does not fit the config's model: {join_some(problems)}; take the config "
                "that it was trained with"
            ) from None
        if "do not match exactly" not in said:
            raise
    return load(path, strict=False)
