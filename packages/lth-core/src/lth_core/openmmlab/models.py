"""Models built from a config alone, without a runner."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn


def build_model(cfg: Config, model: Any = None) -> nn.Module:
    """The model of ``cfg``, as its constructors leave it.

    Args:
        cfg: Names the family in whose registry the model's parts are. Not changed.
        model: The model's own config; None for that of ``cfg``.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        settings = copy.deepcopy(cfg.model if model is None else model)
        if model is None and cfg.get("data_preprocessor"):  # as mmengine's runner does
            settings.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
        return MODELS.build(settings)


def build_for_use(cfg: Config) -> nn.Module:
    """The same without what serves training alone: a segmentor's auxiliary heads, shared norms."""
    model = revert_sync_batchnorm(build_model(cfg))
    if getattr(model, "auxiliary_head", None) is not None:
        model.auxiliary_head = None
    return model
