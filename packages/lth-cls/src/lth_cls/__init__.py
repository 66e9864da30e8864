"""Lottery tickets for mmpretrain classifiers and self-supervised models."""

import lth_core.openmmlab  # noqa: F401  # first: mmpretrain needs what it installs

from lth_cls import (
    adversarial,
    best_epoch,
    contrastive,
    datasets,
    evaluation,
    fast,
    initializers,
    models,
    pretext,
    transforms,
)

__all__ = [
    "adversarial",
    "best_epoch",
    "contrastive",
    "datasets",
    "evaluation",
    "fast",
    "initializers",
    "models",
    "pretext",
    "transforms",
]
