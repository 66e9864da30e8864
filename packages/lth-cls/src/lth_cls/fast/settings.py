"""The config key ``in_memory``: pictures live on the device, and batches are made there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lth_core.errors import ConfigError
from lth_core.openmmlab.keys import register_key
from lth_core.openmmlab.settings import plain, strict
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from lth_cls.fast.batched import KEY
from lth_cls.fast.dataset import pipeline_holders
from lth_cls.fast.pipeline import Pipeline

DATASET = "mmpretrain.InMemory"
LOADERS = ("train", "val", "test")
_OF_WORKERS = ("persistent_workers", "pin_memory", "prefetch_factor", "timeout", "worker_init_fn")


@dataclass(frozen=True)
class InMemorySettings:
    """``in_memory = dict()``: data sets that fit live on the device.

    Args:
        device: Where the pictures live: ``"auto"`` for where the model will be, or a device's name,
            such as ``"cpu"``.
        loaders: Which of ``"train"``, ``"val"`` and ``"test"``.
        strict: Whether a pipeline without a batched counterpart is an error. Otherwise its loader
            stays as it is, and the log says so.

    Raises:
        ConfigError: If a field is malformed.
    """

    device: str = "auto"
    loaders: tuple[str, ...] = ("train", "val")
    strict: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.device, str) or not self.device:
            raise ConfigError(f"{KEY}.device is {self.device!r}; use 'auto' or a device's name")
        if not isinstance(self.strict, bool):
            raise ConfigError(f"{KEY}.strict is {self.strict!r}; use True or False")
        loaders = self.loaders
        if not isinstance(loaders, tuple) or not loaders or set(loaders) - set(LOADERS):
            raise ConfigError(f"{KEY}.loaders is {loaders!r}; use some of {', '.join(LOADERS)}")


def parse_in_memory(value: Any) -> InMemorySettings:
    """The settings in a config's ``in_memory``.

    Raises:
        ConfigError: If it is not a dict, or has unknown or malformed fields.
    """
    value = plain(value, KEY)
    if isinstance(value.get("loaders"), list):
        value["loaders"] = tuple(value["loaders"])
    return strict(InMemorySettings, value, KEY)


def apply(cfg: Config) -> None:
    """Puts the data sets of a config's loaders in memory, as its ``in_memory`` says.

    Args:
        cfg: Of a classifier or a self-supervised model. Changed in place; a second time changes
            nothing.

    Raises:
        ConfigError: If the key is malformed, or a pipeline has no batched counterpart.
    """
    settings = parse_in_memory(cfg[KEY])
    for name in settings.loaders:
        loader = cfg.get(f"{name}_dataloader")
        if not isinstance(loader, dict) or not isinstance(loader.get("dataset"), dict):
            continue
        if str(loader["dataset"].get("type")).rpartition(".")[2] == "InMemory":
            continue
        try:
            for holder in pipeline_holders(loader["dataset"]):
                Pipeline(holder["pipeline"])
        except ConfigError as problem:
            if settings.strict:
                raise
            print_log(f"{name}_dataloader stays as it is: {problem}", logger="current")
            continue
        kept = {key: value for key, value in loader.items() if key not in _OF_WORKERS}
        kept |= {
            "num_workers": 0,
            "collate_fn": {"type": "whole_batch"},
            "dataset": {"type": DATASET, "device": settings.device, "dataset": loader["dataset"]},
        }
        cfg[f"{name}_dataloader"] = ConfigDict(kept)


register_key(KEY, apply)
