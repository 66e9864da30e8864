"""Attacks that classifiers are tested with, as configs write them.

========================================  =========================================================
in a config                               the attack
========================================  =========================================================
``'pgd-20'``, or any preset               :data:`lth_cls.adversarial.attacks.PRESETS`
``dict(type='PGD', eps=8/255, ...)``      :class:`lth_cls.adversarial.attacks.PGD`
``dict(preset='pgd-20', restarts=5)``     a preset with changes
``dict(type='AutoAttack')``               :class:`~lth_cls.evaluation.robust_library.AutoAttack`
``dict(type='Square', queries=5000)``     :class:`~lth_cls.evaluation.robust_library.Square`
``dict(type='Transfer', checkpoint=...)`` :class:`Transfer`
========================================  =========================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from lth_core.errors import ConfigError
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.models import build_model, load_trained
from lth_core.openmmlab.settings import strict
from lth_core.randomness import seed_at
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import Tensor
from torch.nn import functional as F

from lth_cls.adversarial.attacks import PGD, parse_attack, perturb
from lth_cls.evaluation.victim import Victim, frozen

PROGRESS_SECONDS = 60.0
"""How often at most the log says how far attacks have come."""

_SCALE = 1024.0
"""Of losses in half precision, whose gradients would be lost otherwise; signs stay the same."""


@dataclass(frozen=True)
class Images:
    """Images to be attacked.

    Attributes:
        pixels: ``(N, C, H, W)`` float32 in [0, 1], in the channel order of the model.
        labels: ``(N,)`` int64.
        places: Of each in the data set.
        seed: Of the run.
    """

    pixels: Tensor
    labels: Tensor
    places: Sequence[int]
    seed: int

    def generators(self, name: str) -> list[torch.Generator]:
        """A stream for each image, which depends on seed, name and the image's place alone."""
        return [
            torch.Generator().manual_seed(seed_at(self.seed, name, place)) for place in self.places
        ]


class Attack(ABC):
    """An attack under a name.

    Args:
        name: Of its metrics.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def __call__(self, victim: Victim, images: Images) -> dict[str, Tensor]:
        """Changed pixels, by the name of their metrics: one of them, or several.

        Args:
            victim: Frozen meanwhile.
            images: To be changed; the same names for each batch.
        """


class Gradient(Attack):
    """Steps along the sign of the gradient of the cross-entropy.

    Args:
        name: Of its metrics.
        attack: Its settings.
    """

    def __init__(self, name: str, attack: PGD) -> None:
        super().__init__(name)
        self.attack = attack

    def __call__(self, victim: Victim, images: Images) -> dict[str, Tensor]:
        """See the base class."""
        return {self.name: self.changed(victim, images)}

    def changed(self, victim: Victim, images: Images) -> Tensor:
        """The pixels."""
        scale = _SCALE if victim.half else 1.0

        def loss(pixels: Tensor) -> Tensor:
            return scale * F.cross_entropy(victim(pixels), images.labels, reduction="none")

        generators = images.generators(self.name)
        return perturb(loss, images.pixels, self.attack, generators)


@dataclass(frozen=True)
class TransferSettings:
    """``dict(type='Transfer', ...)``: images made against another model.

    Args:
        checkpoint: Of the other model.
        config: Its config; None for that of the model under attack.
        attack: On the other model: a preset's name, or a PGD dict.

    Raises:
        ConfigError: If a field is malformed, or a file is missing.
    """

    checkpoint: str
    config: str | None = None
    attack: Any = "pgd-20"

    def __post_init__(self) -> None:
        for what, path in (("checkpoint", self.checkpoint), ("config", self.config)):
            if path is not None and not isinstance(path, str):
                raise ConfigError(f"Transfer: {what} is {path!r}; it must be a path")
        if not Path(self.checkpoint).is_file():
            raise ConfigError(
                f"Transfer: checkpoint {self.checkpoint} does not exist (looked for "
                f"{Path(self.checkpoint).absolute()})"
            )


class Transfer(Attack):
    """Images that fool another model: what the gradients of the model under attack hide, may not.

    Args:
        name: Of its metrics.
        settings: Which model, and how it is attacked.
        cfg: Of the model under attack.

    Raises:
        ConfigError: If the other model's config cannot be read.
    """

    def __init__(self, name: str, settings: TransferSettings, cfg: Config) -> None:
        super().__init__(name)
        self.settings = settings
        self.cfg = cfg if settings.config is None else load_config(settings.config)
        self.inner = Gradient(name, parse_attack(settings.attack))

    @cached_property
    def source(self) -> Victim:
        """The other model, with all of its weights.

        Raises:
            CheckpointError: If the checkpoint does not fit it.
        """
        model = build_model(self.cfg)
        load_trained(partial(load_checkpoint, model, map_location="cpu"), self.settings.checkpoint)
        return Victim(model)

    def __call__(self, victim: Victim, images: Images) -> dict[str, Tensor]:
        """See the base class."""
        source = self.source
        source.model.to(images.pixels.device)
        source.half = victim.half
        # Each model has its own order of channels.
        turned = _order(source) != _order(victim)
        pixels = images.pixels.flip(1) if turned else images.pixels
        with frozen(source.model):
            found = self.inner.changed(
                source, Images(pixels, images.labels, images.places, images.seed)
            )
        return {self.name: found.flip(1) if turned else found}


def _order(victim: Victim) -> bool:
    return bool(getattr(victim.model.data_preprocessor, "to_rgb", False))


def parse_attacks(value: Any, cfg: Config) -> dict[str, Attack]:
    """The attacks of a config's ``attacks``, by name.

    Args:
        value: A dict of names to attacks.
        cfg: Of the model under attack.

    Raises:
        ConfigError: If it is malformed.
    """
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(
            f"attacks is {value!r}; it must be a dict, as in attacks={{'pgd-20': 'pgd-20'}}"
        )
    return {name: parse(name, each, cfg) for name, each in _named(value)}


def _named(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if name == "_scope_":
            continue
        if not isinstance(name, str) or not name or "/" in name:
            raise ConfigError(f"attacks: {name!r} is no name; use one without a slash")
        yield name, each


def parse(name: str, value: Any, cfg: Config) -> Attack:
    """One attack.

    Args:
        name: Of its metrics.
        value: As in a config; see the module.
        cfg: Of the model under attack.

    Raises:
        ConfigError: If it is malformed.
    """
    from lth_cls.evaluation import robust_library

    kind = value.get("type") if isinstance(value, Mapping) else None
    fields = {k: v for k, v in value.items() if k not in ("type", "_scope_")} if kind else {}
    try:
        if kind == "Transfer":
            return Transfer(name, strict(TransferSettings, fields, kind), cfg)
        if isinstance(kind, str) and kind in robust_library.KINDS:
            return robust_library.build(name, kind, fields)
        return Gradient(name, parse_attack(value))
    except ConfigError as problem:
        raise ConfigError(f"attacks[{name!r}]: {problem}") from None
