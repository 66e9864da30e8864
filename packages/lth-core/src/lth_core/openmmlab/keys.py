"""Top-level keys of a config: lth-core's own, and those that other packages bring.

A package names its keys in its metadata, as entry points of the group ``lth_core.config_keys``::

    [project.entry-points."lth_core.config_keys"]
    adversarial = "lth_cls.adversarial.settings:apply"

and is imported only for a config that has one. The function gets the config and changes it in
place into one that mmengine understands. What it raises is told before anything is started. Keys of
the group ``lth_core.evaluation_keys`` say how a model is validated and tested, not what is trained:
among results they make no other task.
A package that runs from a bare source tree has no metadata; there importing it is what
:func:`register_key` needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mmengine.config import Config

from lth_core.errors import ConfigError
from lth_core.spelling import likely

OWN_KEYS = ("ticket", "imp", "record")
GROUP, EVALUATION_GROUP = "lth_core.config_keys", "lth_core.evaluation_keys"

Apply = Callable[[Config], None]
"""Does what a key asks for, in place; a second time it changes nothing."""

_REGISTERED: dict[str, dict[str, Apply]] = {GROUP: {}, EVALUATION_GROUP: {}}


def register_key(name: str, apply: Apply, evaluation: bool = False) -> None:
    """Brings a key, also where the package's metadata does not.

    Args:
        name: The key.
        apply: Does what it asks for.
        evaluation: Whether it says how a model is validated and tested, not what is trained.
    """
    _REGISTERED[EVALUATION_GROUP if evaluation else GROUP][name] = apply


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def training_keys() -> list[str]:
    """Names of the keys that packages bring and that say what is trained, sorted."""
    return sorted({*_installed(GROUP), *_REGISTERED[GROUP]})


def package_keys() -> list[str]:
    """Names of all keys that packages bring, sorted."""
    evaluation = {*_installed(EVALUATION_GROUP), *_REGISTERED[EVALUATION_GROUP]}
    return sorted({*training_keys(), *evaluation})


def known_keys() -> tuple[str, ...]:
    """All of lth's keys."""
    return (*OWN_KEYS, *package_keys())


def apply_package_keys(cfg: Config) -> None:
    """Does what a config's keys of packages ask for. Safe to call again.

    Args:
        cfg: Is changed; the keys stay in it.

    Raises:
        LTHError: If one is malformed.
    """
    for group, registered in _REGISTERED.items():
        for name in sorted({*_installed(group), *registered}):
            if cfg.get(name) is not None:
                _function(group, name)(cfg)


def training_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a config's keys of packages say of what is trained, by key.

    Fields that the key's function names in an attribute ``watching`` are left out: they look on.
    """
    found: dict[str, Any] = {}
    for name in training_keys():
        value = cfg.get(name)
        if isinstance(value, Mapping):
            watching = getattr(_function(GROUP, name), "watching", ())
            value = {field: each for field, each in value.items() if field not in watching}
        if value is not None:
            found[name] = value
    return found


def _function(group: str, name: str) -> Apply:
    registered = _REGISTERED[group].get(name)
    return _installed(group)[name].load() if registered is None else registered


def reject_misspelt_keys(cfg: Config) -> None:
    """Refuses a top-level key that looks like lth's own: mmengine would pass over it in silence.

    Raises:
        ConfigError: Naming the key and what was probably meant.
    """
    known = known_keys()
    for key in cfg:
        guess = likely(key.lower(), known, cutoff=0.75)
        if key not in known and guess is not None and isinstance(cfg[key], dict):
            raise ConfigError(f"the config has a key {key!r}; did you mean {guess!r}?")
