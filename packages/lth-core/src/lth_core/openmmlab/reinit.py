"""Fresh random weights from a config's own initialisers, with nothing pre-trained among them.

Values that constructors draw cannot be drawn again in a model that is there, and mmengine
initialises a model only once. So a second one is built beside it from the same config.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from lth_core import variants
from lth_core.errors import ConfigError, MaskError
from lth_core.masks import MaskSet
from lth_core.scope import join_some, locate, unwrap


def fresh_weights(runner: Runner, masks: MaskSet, seed: int) -> dict[str, Tensor]:
    """The state dict that ``runner``'s model would start with, had it never been trained.

    Args:
        runner: Of a training whose config has the model.
        masks: Names of the masked weights, with or without what stands before them in the model.
        seed: Decides the values, together with the config's ``model``: the whole is built, since
            a model may initialise its backbone itself, so another head may give other values.

    Returns:
        All of the model, on the CPU, with pruned weights at zero. Torch's random stream goes on
        as if nothing had been drawn.

    Raises:
        ConfigError: If the runner was given a model in place of a config.
        MaskError: If the masks do not fit.
    """
    wanted = runner.cfg.get("model")
    if not isinstance(wanted, dict):
        raise ConfigError(
            "ticket.weights='reinit' builds the model anew, which takes its config; this runner "
            "was given a built model: use weights='keep'"
        )
    return variants.reinit(
        masks,
        lambda: build_fresh(wanted, runner.build_model),
        torch.Generator().manual_seed(seed),
    )


def build_fresh(config: Any, build: Callable[[Any], nn.Module]) -> nn.Module:
    """A model with random weights of its own initialisers.

    Args:
        config: Of the model. Not changed.
        build: Makes a model of such a config.
    """
    config = copy.deepcopy(config)
    drop_pretrained(config)
    model: Any = build(config)
    if hasattr(model, "init_weights"):
        model.init_weights()
    return model


def forget_pretrained(model: nn.Module, masks: MaskSet) -> None:
    """Keeps the masked backbone of ``model`` from loading weights when it is initialised.

    They would be replaced: no file need be there, and nothing is downloaded.
    """
    try:
        prefix = locate(model, masks)[0]
    except MaskError:  # said when the ticket is applied
        return
    for module in unwrap(model).get_submodule(prefix.removesuffix(".")).modules():
        if getattr(module, "init_cfg", None):
            module.init_cfg = _own(module.init_cfg)


def warn_of_frozen(runner: Runner, masks: MaskSet) -> None:
    """Says so where fresh weights would stay as they are: detectors freeze what is pre-trained."""
    model = unwrap(runner.model)
    prefix = locate(model, masks)[0]
    parameters = dict(model.named_parameters())
    frozen = [name for name in masks if not parameters[prefix + name].requires_grad]
    if frozen:
        runner.logger.warning(
            f"lth: {len(frozen)} of the weights that start at random are frozen "
            f"({join_some(frozen)}); set frozen_stages=-1 and norm_eval=False in the backbone"
        )


def loads_pretrained(config: Any) -> bool:
    """Whether anything in a model's config loads weights."""
    without = copy.deepcopy(config)
    drop_pretrained(without)
    return bool(without != config)


def drop_pretrained(config: Any) -> None:
    """Takes everything that loads weights out of a model's config, in place."""
    if isinstance(config, dict):
        for key, value in list(config.items()):
            if key == "init_cfg":
                own = _own(value)
                if own is not None:
                    config[key] = own
                elif value is not None:
                    # Not None: of mmpretrain's ResNet that means no initialiser at all, while
                    # mmdet's puts its own in its place. Unnamed, both take their own.
                    del config[key]
            elif key == "pretrained" and value:  # a place, or yes
                config[key] = False if value is True else None
            else:
                drop_pretrained(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            drop_pretrained(value)


def _own(init_cfg: Any) -> Any:
    """An ``init_cfg`` without what loads weights; None if nothing is left."""
    if isinstance(init_cfg, Sequence):
        return [each for each in init_cfg if not _loads(each)] or None
    return None if _loads(init_cfg) else init_cfg


def _loads(init_cfg: Any) -> bool:
    # By name or by class, as configs in Python's own syntax have it. Some backbones (mmdet's PVT)
    # read the file themselves and ask for no type.
    return isinstance(init_cfg, dict) and (
        "Pretrained" in str(init_cfg.get("type"))
        or ("type" not in init_cfg and "checkpoint" in init_cfg)
    )
