"""The config key ``robustness``: what a classifier is validated and tested with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lth_core.errors import ConfigError
from lth_core.openmmlab.keys import register_key
from lth_core.openmmlab.settings import plain, strict
from mmengine.config import Config, ConfigDict

KEY = "robustness"

LOOPS = {
    "val": ("RobustValLoop",),
    "test": ("RobustTestLoop", "RobustAuditLoop", "CorruptionTestLoop"),
}
"""Which loops can be asked for, the usual one first."""

_PLAIN = {"val": "ValLoop", "test": "TestLoop"}

_PRECISION = ("fp16", "bf16")
"""Settings that one loop takes over from another."""


@dataclass(frozen=True)
class RobustnessSettings:
    """``robustness = dict(val=dict(attacks=...), test=dict(attacks=...))``.

    A key of its own, since base files that both have ``val_cfg`` cannot be inherited side by side.

    Args:
        val: Settings of :class:`~lth_cls.evaluation.RobustValLoop`; None leaves the validation as
            it is.
        test: Settings of the test's loop; ``type`` says which, by default
            :class:`~lth_cls.evaluation.RobustTestLoop`. None leaves the test as it is.

    Raises:
        ConfigError: If a field is malformed.
    """

    val: Mapping[str, Any] | None = None
    test: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                loop = plain(value, f"{KEY}.{each.name}").get("type", LOOPS[each.name][0])
                if loop not in LOOPS[each.name]:
                    known = ", ".join(LOOPS[each.name])
                    raise ConfigError(f"{KEY}.{each.name}.type is {loop!r}; known: {known}")


def apply(cfg: Config) -> None:
    """Makes a config's validation and test those that its ``robustness`` asks for.

    Args:
        cfg: Changed in place; a second time changes nothing. What is not there stays absent: a
            training without validation stays one.

    Raises:
        ConfigError: If the key is malformed, or the config has loops of its own.
    """
    settings = strict(RobustnessSettings, plain(cfg[KEY], KEY), KEY)
    for each in fields(settings):
        asked, key = getattr(settings, each.name), f"{each.name}_cfg"
        if asked is None or cfg.get(key) is None:
            continue
        wanted = ConfigDict({"type": LOOPS[each.name][0], **plain(asked, f"{KEY}.{each.name}")})
        own = {k: v for k, v in cfg[key].items() if k != "type"}
        kind = cfg[key].get("type", _PLAIN[each.name])
        if cfg[key] != wanted and kind not in (_PLAIN[each.name], *LOOPS[each.name]):
            raise ConfigError(f"{KEY}.{each.name} takes the place of {key}, which is a {kind}")
        if kind not in (_PLAIN[each.name], wanted["type"]):  # another of the key's own loops
            own = {k: v for k, v in own.items() if k in _PRECISION}
        cfg[key] = ConfigDict({**own, **wanted})


register_key(KEY, apply, evaluation=True)
