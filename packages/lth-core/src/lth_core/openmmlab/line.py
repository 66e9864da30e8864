"""Evaluates a config's model along the straight line between two checkpoints.

Running statistics of norms do not fit the weights between two solutions, which would show barriers
where there are none: they are estimated anew from training data at every place but the ends.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lth_core.analysis.connectivity import Connectivity, connectivity
from lth_core.checkpoints import read_checkpoint
from lth_core.errors import CheckpointError, ConfigError
from lth_core.openmmlab.preflight import check_files
from lth_core.openmmlab.runner import LTHRunner
from lth_core.randomness import isolated
from lth_core.results import is_loss
from lth_core.scope import join_some, misfits, strays, unwrap

PER_CENT = ("accuracy", "single-label", "multi-label", "aAcc", "mIoU", "mAcc", "mDice", "mFscore",
            "mPrecision", "mRecall")  # fmt: skip
"""Beginnings of the names of metrics that go up to 100; others go up to 1."""


def error_of(metric: str, value: float) -> float:
    """A metric as an error, smaller is better: losses as they are, else what is missing to best."""
    if is_loss(metric):
        return value
    return (100.0 if metric.startswith(PER_CENT) else 1.0) - value


def error_name(metric: str) -> str:
    """How :func:`error_of` makes an error of a metric: ``100 - accuracy/top1``."""
    return metric if is_loss(metric) else f"{error_of(metric, 0.0):g} - {metric}"


def connect(
    cfg: Config,
    one: str | Path,
    other: str | Path,
    points: int = 11,
    batches: int = 50,
    tell: Any = None,
) -> dict[str, Connectivity]:
    """Errors on validation data along the line between two checkpoints of one config.

    Args:
        cfg: The config. Not changed.
        one: A checkpoint of it.
        other: Another.
        points: Places on the line, both ends included.
        batches: Of training data that norms' statistics are estimated from, the same ones at every
            place between the ends; 0 to interpolate the statistics like weights.
        tell: Called with the share that is done.

    Returns:
        By error (:func:`error_name`), one for each number that validation gives.

    Raises:
        LTHError: If a checkpoint is missing or of another model, or the config has no validation.
    """
    if cfg.get("val_dataloader") is None or cfg.get("val_evaluator") is None:
        raise ConfigError("the config has no validation: nothing to measure along the line")
    cfg = copy.deepcopy(cfg)
    for key in ("ticket", "imp", "record"):  # zeros are in the checkpoints
        cfg.pop(key, None)
    cfg.load_from, cfg.resume = None, False
    # Averages are what checkpoints of such trainings hold.
    hooks = cfg.get("custom_hooks") or []
    cfg.custom_hooks = [hook for hook in hooks if "EMA" not in str(hook["type"])]
    check_files(cfg, ("train_dataloader", "val_dataloader") if batches else ("val_dataloader",))
    states = [read_checkpoint(path).model for path in (one, other)]
    runner = LTHRunner.from_cfg(cfg, recorded=False)
    model = unwrap(runner.model)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for path, state in zip((one, other), states, strict=True):
        problems = misfits(own, state) + strays(own, state)
        if problems:
            raise CheckpointError(
                f"{path} is no checkpoint of this config's model: {join_some(problems)}"
            )
    states = [{name: state.get(name, t) for name, t in own.items()} for state in states]
    found: list[dict[str, float]] = []

    def error(state: Mapping[str, Tensor]) -> float:
        model.load_state_dict(state)
        if batches and 0 < len(found) < points - 1:
            with isolated(0):
                estimate_norms(runner, batches)
        found.append(dict(runner.val()))
        if tell is not None:
            tell(len(found) / points)
        return 0.0

    places = connectivity(states[0], states[1], error, points).fractions
    return {
        error_name(metric): Connectivity(
            places, tuple(error_of(metric, float(values[metric])) for values in found)
        )
        for metric in found[0]
    }


def estimate_norms(runner: Runner, batches: int) -> None:
    """Sets the running statistics of norms to their means over some training data.

    Norms that training leaves alone (``norm_eval``, frozen stages) are left alone.
    """
    model: Any = unwrap(runner.model)
    model.train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    settings = {**runner.cfg.train_dataloader, "persistent_workers": False}
    loader = runner.build_dataloader(settings, seed=0)
    with _averaging(norms), torch.no_grad():
        for index, batch in enumerate(loader):
            if index == batches:
                break
            data = model.data_preprocessor(batch, True)
            model(**data, mode="loss") if isinstance(data, dict) else model(*data, mode="loss")


@contextmanager
def _averaging(norms: list[_BatchNorm]) -> Iterator[None]:
    """Norms whose statistics are the means over what they see."""
    before: list[Any] = []
    for norm in norms:
        before.append(norm.momentum)
        norm.reset_running_stats()
        norm.momentum = None
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
