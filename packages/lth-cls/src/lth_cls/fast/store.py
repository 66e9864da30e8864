"""Pictures of a data set, once in the memory of a device."""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lth_core.errors import ConfigError
from mmengine.device import get_device
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor

from lth_cls.fast.batched import KEY

_MIB = 2**20
_SPARE = 0.9
"""Share of the free memory that pictures may take."""

_KEPT = 4
"""Data sets kept for the next training of this process: a chain's training, validation and test."""


@dataclass(frozen=True)
class Store:
    """A data set in memory.

    Args:
        images: ``(N, C, H, W)`` uint8, on the device.
        samples: What ``PackInputs`` makes of each picture's labels and facts; not to be changed.
        infos: What is known of each picture besides its pixels.
        metainfo: The data set's.
        labels: ``(N,)`` int64 on the CPU; None where a picture has no label or several.
    """

    images: Tensor
    samples: list[DataSample]
    infos: list[dict[str, Any]]
    metainfo: dict[str, Any]
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)


def the_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is where the model will be.

    Raises:
        ConfigError: If there is none of that name.
    """
    name = get_device() if name == "auto" else name
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise ConfigError(f"{KEY}.device is {name!r}, which is not here: {reason}") from None
    return device


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where there is no telling."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu" or not Path("/proc/meminfo").is_file():
        return None
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


_STORES: OrderedDict[str, Store] = OrderedDict()


def stored(what: Any, device: torch.device, load: Callable[[], Store]) -> Store:
    """A store that is loaded once in this process.

    Args:
        what: The data set's config and whatever else the pictures depend on.
        device: Where they are.
        load: Loads them.
    """
    key = json.dumps([what, str(device), os.getpid()], sort_keys=True, default=repr)
    found = _STORES.pop(key, None)
    if found is None:
        found = load()
    _STORES[key] = found
    while len(_STORES) > _KEPT:
        _STORES.popitem(last=False)
    return found


def forget() -> None:
    """Lets go of all stores that nothing else holds."""
    _STORES.clear()


def load(dataset: Any, pack: Any, device: torch.device, whole: bool, name: str) -> Store:
    """Reads a data set into memory.

    Args:
        dataset: Gives a dict for each picture, with ``img`` ``(H, W, C)`` or ``(H, W)`` uint8.
        pack: The pipeline's ``PackInputs``.
        device: Where the pictures go.
        whole: Whether what is known of a picture (its shape, for instance) stays true.
        name: Of the data set, for messages.

    Raises:
        ConfigError: If the pictures are not of one size and of bytes, or do not fit.
    """
    start, count = time.monotonic(), len(dataset)
    if not count:
        raise ConfigError(f"{KEY}: {name} has no pictures")
    pixels: np.ndarray | None = None
    samples, infos = [], []
    for index in range(count):
        result = dict(dataset[index])
        image = _picture(result.pop("img", None), name)
        if pixels is None:
            _require_room(count * image.nbytes, device, name)
            pixels = np.empty((count, *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            raise ConfigError(
                f"{KEY}: {name} has pictures of different sizes, {_size(pixels[0])} and "
                f"{_size(image)}; begin the pipeline with a Resize or CenterCrop to one size, or "
                "make only the views on the device (device_views)"
            )
        pixels[index] = image
        if not whole:
            for gone in ("img_shape", "flip", "flip_direction", "scale_factor"):
                result.pop(gone, None)
        samples.append(pack.transform(result)["data_samples"])
        infos.append(result)
    assert pixels is not None
    images = torch.from_numpy(pixels).to(device)
    labels = _labels(samples)
    if labels is not None:  # views of one tensor, so that a batch is not copied one by one
        for sample, label in zip(samples, labels.to(device).split(1), strict=True):
            sample.set_gt_label(label)
    print_log(
        f"{KEY}: {name}, {count} pictures of {' x '.join(map(str, images.shape[1:]))}, take "
        f"{images.nbytes / _MIB:.1f} MiB of {device} (read in {time.monotonic() - start:.1f} s)",
        logger="current",
    )
    return Store(images, samples, infos, dict(dataset.metainfo), labels)


def _picture(image: Any, name: str) -> np.ndarray:
    """``(C, H, W)`` uint8, as ``PackInputs`` orders it."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3):
        kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ConfigError(f"{KEY}: {name} gives {kind} for a picture, not (H, W, C) of bytes")
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def _size(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape[1:]))


def _labels(samples: list[DataSample]) -> Tensor | None:
    if any("gt_label" not in sample or len(sample.gt_label) != 1 for sample in samples):
        return None
    return torch.cat([sample.gt_label for sample in samples])


def _require_room(needed: int, device: torch.device, name: str) -> None:
    """Refuses what does not fit.

    Raises:
        ConfigError: Saying how much is needed, and what to do.
    """
    free = free_memory(device)
    if free is not None and needed > free * _SPARE:
        forget()
        free = free_memory(device) or 0
    if free is not None and needed > free * _SPARE:
        raise ConfigError(
            f"{KEY}: {name} takes {needed / _MIB:.0f} MiB, and {free / _MIB:.0f} MiB are free on "
            f"{device}; set {KEY}.device='cpu', leave its loader out of {KEY}.loaders, or take "
            "smaller pictures or a Portion of them"
        )
