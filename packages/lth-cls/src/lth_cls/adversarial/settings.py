"""The config key ``adversarial``: trains a config's classifier on adversarial examples."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from lth_core.errors import ConfigError
from lth_core.openmmlab.keys import register_key
from lth_core.openmmlab.settings import plain, strict
from mmengine.config import Config, ConfigDict
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS

from lth_cls.adversarial.attacks import PGD, parse_attack

KEY = "adversarial"
MODEL = "AdversarialClassifier"
"""The registered name of the model that is trained."""

LOSSES = ("adversarial", "trades")
BN_MODES = ("train", "eval")
BETA = 6.0
"""Weight of TRADES' divergence in the authors' experiments on CIFAR-10."""

_SEVERAL_LABELS = ("MultiLabel", "MultiTask", "CSRA")
"""In the names of heads whose labels are more than one an image."""


@dataclass(frozen=True)
class AlarmSettings:
    """The alarm of catastrophic overfitting; see :class:`OverfittingAlarm`.

    Args:
        interval: Iterations from one look to the next.
        images: How many images of the mini-batch are looked at, at most.

    Raises:
        ConfigError: If a field is malformed.
    """

    interval: int = 100
    images: int = 64

    def __post_init__(self) -> None:
        for name in ("interval", "images"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"alarm.{name} is {value!r}; use a whole number from 1")


@dataclass(frozen=True)
class AdversarialSettings:
    """``adversarial = dict(attack='pgd-10', ...)``: how a classifier is trained.

    Args:
        attack: What makes the examples; see :func:`~lth_cls.adversarial.parse_attack`.
        loss: ``"adversarial"`` for the model's own loss of adversarial examples (Madry et al.
            2018), ``"trades"`` for its loss of the clean ones and, times ``beta``, how far the
            predictions of the two diverge (Zhang et al. 2019), which the attack climbs too. It
            starts where ``attack`` says; the authors' code starts with Gaussian noise of 0.001.
        beta: Of ``"trades"``; by default 6.
        bn_mode: Of batch norms during the attack: ``"train"`` as paper C, whose running
            statistics see the images of all steps, or ``"eval"``.
        alarm: Of catastrophic overfitting: None for attacks of one step only, True, False, or its
            settings.

    Raises:
        ConfigError: If a field is malformed.
    """

    attack: PGD
    loss: str = "adversarial"
    beta: float | None = None
    bn_mode: str = "train"
    alarm: AlarmSettings | bool | None = None

    def __post_init__(self) -> None:
        for name, choices in (("loss", LOSSES), ("bn_mode", BN_MODES)):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{KEY}.{name} is {value!r}; known: {', '.join(choices)}")
        if self.attack.restarts > 1:
            raise ConfigError(
                f"{KEY}.attack.restarts is {self.attack.restarts}; restarts are for evaluation, a "
                "model's own loss is one number a batch"
            )
        if self.loss == "trades":
            if self.beta is None:
                object.__setattr__(self, "beta", BETA)
            if isinstance(self.beta, bool) or not isinstance(self.beta, (int, float)):
                raise ConfigError(f"{KEY}.beta is {self.beta!r}; use a number")
            if not 0 < self.beta < float("inf"):
                raise ConfigError(f"{KEY}.beta is {self.beta!r}; use a number above 0")
            if not self.attack.random_start:
                raise ConfigError(
                    f"{KEY}.loss is 'trades', which needs a random start: at the image itself the "
                    "divergence has no slope"
                )
        elif self.beta is not None:
            raise ConfigError(f"{KEY}.beta is {self.beta!r}, but only loss='trades' has it")
        if self.alarm not in (None, True, False) and not isinstance(self.alarm, AlarmSettings):
            raise ConfigError(f"{KEY}.alarm is {self.alarm!r}; use True, False or a dict")

    def watch(self) -> AlarmSettings | None:
        """The alarm's settings; None where it is off."""
        if isinstance(self.alarm, AlarmSettings):
            return self.alarm
        wanted = self.attack.steps == 1 if self.alarm is None else self.alarm
        return AlarmSettings() if wanted else None


def parse_adversarial(value: Any) -> AdversarialSettings:
    """The settings in a config's ``adversarial``.

    Raises:
        ConfigError: If it is not a dict, or has unknown, missing or malformed fields.
    """
    value = plain(value, KEY)
    if "attack" in value:
        value["attack"] = parse_attack(value["attack"], f"{KEY}.attack")
    if isinstance(value.get("alarm"), dict):
        fields = plain(value["alarm"], f"{KEY}.alarm")
        value["alarm"] = strict(AlarmSettings, fields, f"{KEY}.alarm")
    return strict(AdversarialSettings, value, KEY)


def classifier_class(kind: Any) -> type[BaseClassifier]:
    """The classifier of mmpretrain's registry that a config names, or is given.

    Raises:
        ConfigError: If it is none: a self-supervised model, a detector, a misspelt name.
    """
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(found) or not issubclass(found, BaseClassifier):
        name = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
        raise ConfigError(
            f"{KEY} is for classifiers of mmpretrain, and model.type {name!r} is none"
        )
    return found


def require_one_label(head: Any) -> None:
    """Refuses TRADES for a head whose predictions are no distribution over classes.

    Raises:
        ConfigError: If the head is known for several labels an image.
    """
    kind = head.get("type", "") if isinstance(head, dict) else ""
    name = kind if isinstance(kind, str) else kind.__name__
    if any(word in name for word in _SEVERAL_LABELS):
        raise ConfigError(
            f"{KEY}.loss is 'trades', which needs one label an image, and model.head is {name}; "
            "use loss='adversarial'"
        )


def apply(cfg: Config) -> None:
    """Makes a config's model one that is trained as its ``adversarial`` says.

    Args:
        cfg: Of a classifier. Changed in place; a second time changes nothing.

    Raises:
        ConfigError: If the key is malformed or the model is no classifier.
    """
    settings, model = parse_adversarial(cfg[KEY]), cfg.get("model")
    if not isinstance(model, dict) or "type" not in model:
        raise ConfigError(f"{KEY} is for configs with a model = dict(type=...)")
    asked = {key: value for key, value in cfg[KEY].items() if key not in ("alarm", "_scope_")}
    kind = model["type"]
    if isinstance(kind, str) and kind.rpartition(".")[2] == MODEL:
        if model.get(KEY) != asked:
            raise ConfigError(f"{KEY} and model.{KEY} differ; leave one of them out")
    else:
        classifier_class(kind)
        if settings.loss == "trades":
            require_one_label(model.get("head"))
        rest = {key: value for key, value in model.items() if key != "type"}
        cfg.model = ConfigDict(type=f"mmpretrain.{MODEL}", classifier=kind, **{KEY: asked}, **rest)
    alarm = settings.watch()
    if alarm is not None:
        hooks = list(cfg.get("custom_hooks") or ())
        hook = {"type": "OverfittingAlarm", **vars(alarm)}
        if not any(each.get("type") == hook["type"] for each in hooks if isinstance(each, dict)):
            cfg.custom_hooks = [*hooks, ConfigDict(hook)]


apply.watching = ("alarm",)  # type: ignore[attr-defined]  # no part of what is trained
register_key(KEY, apply)
