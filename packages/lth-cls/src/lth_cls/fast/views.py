"""Views of pictures for SimCLR and MoCo, finished on the device where they do not fit in memory.

Pictures of ImageNet's size are decoded and cropped by the loader's workers, as always. What comes
after the crop (colours, greys, blur, flips) takes most of the time, goes through whole batches on
the device, and is left to the data preprocessor. Crops are cut out of the whole picture, so views
have the distribution of the config's own pipeline.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lth_core.errors import ConfigError
from lth_core.openmmlab.keys import register_key
from lth_core.openmmlab.settings import plain, strict
from mmcv.transforms import BaseTransform
from mmengine.config import Config, ConfigDict
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS, TRANSFORMS
from torch import Tensor

from lth_cls.fast.batched import Sequence, batched, built
from lth_cls.fast.dataset import pipeline_holders
from lth_cls.fast.draws import Draws
from lth_cls.fast.settings import LOADERS

KEY = "device_views"
SEED = "view_seed"
_SIZED = ("RandomResizedCrop", "RandomCrop", "CenterCrop")
"""Transforms after which all pictures of a view are of one size."""


@TRANSFORMS.register_module()
class SeedViews(BaseTransform):
    """Draws the seed from which the device goes on with a picture, into ``view_seed``.

    A sample is loaded under a seed of its own, so this follows from the run's seed as all else.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds ``view_seed``, 62 bits."""
        results[SEED] = int(np.random.randint(2**62))
        return results


@MODELS.register_module()
class BatchedViews(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor of self-supervised models, which finishes the views first.

    Args:
        views: For each view the transforms that are left to do, as in a config. If pictures come
            as one batch, each view is made of it; otherwise the first view's list is of the first
            batch of pictures, and so on.
        **kwargs: Of mmpretrain's ``SelfSupDataPreprocessor``.

    Raises:
        ConfigError: If a transform has no batched counterpart.
    """

    def __init__(self, views: list[list[Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.views = [Sequence(map(built, steps)) for steps in views]

    def forward(self, data: dict[str, Any], training: bool = False) -> Any:
        """As mmpretrain's.

        Args:
            data: ``inputs``, ``(N, C, H, W)`` uint8 or a list of one for each view, and
                ``data_samples``, the first with ``view_seed``.
            training: As mmpretrain's.

        Raises:
            ConfigError: If there are not as many views as the settings say.
        """
        inputs = self.cast_data(data["inputs"])
        batches = [inputs] * len(self.views) if isinstance(inputs, Tensor) else list(inputs)
        if len(batches) != len(self.views):
            raise ConfigError(
                f"BatchedViews: the pipeline gives {len(batches)} views, and data_preprocessor."
                f"views has {len(self.views)}"
            )
        seed = data["data_samples"][0].get(SEED)
        if seed is None:
            raise ConfigError("BatchedViews: the pipeline needs SeedViews before PackInputs")
        draws = Draws(seed, batches[0].device)
        # Automatic mixed precision, under which mmengine preprocesses, is for nets.
        with torch.autocast(batches[0].device.type, enabled=False), torch.no_grad():
            made = [view(batch, draws) for view, batch in zip(self.views, batches, strict=True)]
        return super().forward({**data, "inputs": made}, training)


@dataclass(frozen=True)
class DeviceViewsSettings:
    """``device_views = dict()``: it has no fields."""


def split_view(steps: list[Any]) -> tuple[list[Any], list[Any]]:
    """What of a view's transforms the workers do, and what the device does.

    Raises:
        ConfigError: If there is no crop to one size, or what follows has no batched counterpart.
    """
    kinds = [type(built(step)).__name__ for step in steps]
    sized = [place for place, kind in enumerate(kinds) if kind in _SIZED]
    if not sized:
        raise ConfigError(
            f"{KEY}: a view has no crop to one size ({', '.join(_SIZED)}) among {', '.join(kinds)}"
        )
    first, rest = steps[: sized[0] + 1], steps[sized[0] + 1 :]
    for step in rest:
        batched(built(step))
    return first, rest


def apply(cfg: Config) -> None:
    """Leaves to the device what a config's views do after their crop.

    Args:
        cfg: Of a self-supervised model with ``MultiView``. Changed in place; a second time changes
            nothing.

    Raises:
        ConfigError: If the key is malformed, or the config has no such views, or unlike ones in its
            loaders.
    """
    strict(DeviceViewsSettings, plain(cfg[KEY], KEY), KEY)
    preprocessor = _preprocessor(cfg)
    if str(preprocessor.get("type")).rpartition(".")[2] == "BatchedViews":
        return
    loaders = [
        loader for name in LOADERS if isinstance(loader := cfg.get(f"{name}_dataloader"), dict)
    ]
    holders = [holder for loader in loaders for holder in pipeline_holders(loader.get("dataset"))]
    # Two loaders may be one and the same dict.
    found = [_take_rest(holder) for holder in {id(each): each for each in holders}.values()]
    if not found or any(rest != found[0] for rest in found):
        raise ConfigError(f"{KEY}: all loaders need the same views")
    kind = str(preprocessor.get("type", "SelfSupDataPreprocessor"))
    if kind.rpartition(".")[2] != "SelfSupDataPreprocessor":
        raise ConfigError(f"{KEY} goes with SelfSupDataPreprocessor, not with {kind}")
    preprocessor["type"] = "mmpretrain.BatchedViews"
    preprocessor["views"] = found[0]


def _preprocessor(cfg: Config) -> ConfigDict:
    """Where the config has its data preprocessor: the model's own comes first."""
    model = cfg.get("model")
    inner = model.get("data_preprocessor") if isinstance(model, dict) else None
    found = inner if inner is not None else cfg.get("data_preprocessor")
    if not isinstance(found, dict):
        raise ConfigError(f"{KEY}: the config has no data_preprocessor")
    return found


def _take_rest(holder: dict[str, Any]) -> list[list[Any]]:
    """Takes what is left to the device out of a data set's pipeline."""
    steps = list(holder["pipeline"])
    names = [str(step["type"]).rpartition(".")[2] for step in steps]
    if names.count("MultiView") != 1 or names[-2:] != ["MultiView", "PackInputs"]:
        raise ConfigError(f"{KEY}: a pipeline has to end with MultiView and PackInputs")
    views, pack = dict(steps[-2]), dict(steps[-1])
    each = views["num_views"]
    counts = [each] if isinstance(each, int) else list(each)
    parts = [split_view(list(way)) for way in views["transforms"]]
    views["transforms"] = [first for first, _ in parts]
    keys = pack.get("meta_keys", PackInputs.DEFAULT_META_KEYS)
    pack["meta_keys"] = (*keys, SEED)
    holder["pipeline"] = [*steps[:-2], views, {"type": "mmpretrain.SeedViews"}, pack]
    rests = ([rest] * count for (_, rest), count in zip(parts, counts, strict=True))
    return list(itertools.chain.from_iterable(rests))


register_key(KEY, apply)
