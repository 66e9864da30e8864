"""Criteria that run the model, on a config's own training data."""

from __future__ import annotations

import itertools
from typing import Any

from mmengine.runner import Runner
from torch import Tensor, nn

from lth_core.criteria import SNIP, GraSP, SynFlow
from lth_core.errors import ConfigError
from lth_core.openmmlab.sampling import SeededBatches
from lth_core.scores import Criterion


def criterion_on(name: str, runner: Runner, count: int) -> Criterion | None:
    """The criterion of that name with a runner's training data, None if it needs none.

    Args:
        name: As registered.
        runner: Whose first ``count`` batches and whose model's own losses are used.
        count: Number of batches.

    Raises:
        ConfigError: If the model's inputs are of no kind that the criterion can make.
    """
    if name in ("snip", "grasp"):
        kind = SNIP if name == "snip" else GraSP
        return kind([(batch, None) for batch in _batches(runner, count)], _given, _losses)
    if name == "synflow":
        return SynFlow(_input_shape(runner), forward=_features)
    return None


def _batches(runner: Runner, count: int) -> list[Any]:
    loader = runner.train_dataloader
    batches = getattr(loader, "batch_sampler", None)
    if isinstance(batches, SeededBatches):
        batches.epoch = 0
    samplers: list[Any] = [getattr(owner, "sampler", None) for owner in (loader, batches)]
    for sampler in samplers:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(0)
    return list(itertools.islice(loader, count))


def _losses(model: Any, batch: Any) -> Any:
    """The sum of the losses that an OpenMMLab model would be trained on, 0-d."""
    data = model.data_preprocessor(batch, True)
    return model.parse_losses(model._run_forward(data, mode="loss"))[0]


def _given(loss: Tensor, _targets: None) -> Tensor:
    return loss


def _features(model: nn.Module, inputs: Tensor) -> Any:
    backbone = getattr(model, "backbone", None)
    return model(inputs) if backbone is None else backbone(inputs)


def _input_shape(runner: Runner) -> tuple[int, ...]:
    data = runner.model.data_preprocessor(_batches(runner, 1)[0], False)
    inputs = data.get("inputs") if isinstance(data, dict) else None
    while isinstance(inputs, (list, tuple)) and inputs:
        inputs = inputs[0]
    if not isinstance(inputs, Tensor):
        raise ConfigError("criterion 'synflow' needs a model whose data preprocessor gives images")
    return tuple(inputs.shape[-3:])
