"""A data set whose pictures live on the device, and whose batches are made there."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lth_core.errors import ConfigError
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Dataset

from lth_cls.fast.batched import KEY
from lth_cls.fast.draws import Draws
from lth_cls.fast.pipeline import Pipeline
from lth_cls.fast.store import Store, load, stored, the_device


@FUNCTIONS.register_module()
def whole_batch(batch: Any) -> Any:
    """Collates what a data set has made as a batch already: gives it on."""
    return batch


@DATASETS.register_module()
class InMemory(Dataset):
    """Another data set of one-sized pictures, in the memory of a device.

    A data loader without workers, and with :func:`whole_batch` to collate, asks it for batches
    (``__getitems__``): the pictures are gathered on the device and go through the batched
    pipeline there. The samples and their order are the loader's sampler's, as always.

    Args:
        dataset: The other data set's config; wrappers as ``Portion`` may be around it.
        device: Where the pictures live; ``"auto"`` is where the model will be.

    Raises:
        ConfigError: If its pipeline has no batched counterpart, the pictures are not of one size,
            or they do not fit.
    """

    seeds_batches = True
    """The first draw of a batch brings the seed of all of it."""

    def __init__(self, dataset: Mapping[str, Any], device: str = "auto") -> None:
        config = copy.deepcopy(dict(dataset))
        holders = pipeline_holders(config)
        steps = [holder["pipeline"] for holder in holders]
        if not steps or any(each != steps[0] for each in steps):
            raise ConfigError(f"{KEY}: needs one pipeline, and the data set has {len(steps)}")
        self._pipeline = Pipeline(steps[0])
        for holder in holders:
            holder["pipeline"] = steps[0][: len(self._pipeline.once)]
        self.device = the_device(device)
        self.name = names_of(config)

        def read() -> Store:
            whole = not self._pipeline.draws
            built = DATASETS.build(config)
            return load(built, self._pipeline.pack, self.device, whole, self.name)

        packing = {key: repr(value) for key, value in vars(self._pipeline.pack).items()}
        key = {"dataset": config, "pack": packing, "draws": self._pipeline.draws}
        self.store = stored(key, self.device, read)

    @property
    def metainfo(self) -> dict[str, Any]:
        """The other data set's."""
        return copy.deepcopy(self.store.metainfo)

    @property
    def pipeline(self) -> Pipeline:
        """What is done to each batch. It cannot be replaced while training."""
        return self._pipeline

    @pipeline.setter
    def pipeline(self, value: Any) -> None:
        raise ConfigError(f"{KEY}: something changes the pipeline while training; leave {KEY} out")

    def full_init(self) -> None:
        """Nothing: it has been read."""

    def __len__(self) -> int:
        return len(self.store)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """What is known of a sample besides its pixels."""
        return dict(self.store.infos[idx])

    def get_gt_labels(self) -> Any:
        """``(N,)`` int64 array of the labels.

        Raises:
            ConfigError: If a picture has none, or several.
        """
        if self.store.labels is None:
            raise ConfigError(f"{KEY}: {self.name} does not have one label for each picture")
        return self.store.labels.numpy()

    def get_cat_ids(self, idx: int) -> list[int]:
        """The classes of a sample, for samplers that ask."""
        return [int(label) for label in self.store.samples[idx].gt_label]

    def __getitem__(self, idx: int) -> dict[str, Any]:
        batch = self.__getitems__([idx])
        inputs = batch["inputs"]
        one = [view[0] for view in inputs] if isinstance(inputs, list) else inputs[0]
        return {"inputs": one, "data_samples": batch["data_samples"][0]}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A batch: ``inputs`` ``(N, C, H, W)`` uint8 or a list of views, and ``data_samples``."""
        images = self.store.images.index_select(0, upload(indices, self.device))
        samples = [fresh(self.store.samples[index]) for index in indices]
        inputs: Any = images
        if self._pipeline.draws:
            seed = getattr(indices[0], "seed", None)
            if seed is None:  # not one of LTHRunner's loaders
                seed = int(torch.randint(2**62, ()))
            inputs = self._pipeline(images, Draws(seed, self.device))
        return {"inputs": inputs, "data_samples": samples}


def upload(indices: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers on a device, without waiting for it."""
    found = torch.tensor(indices)
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found


def fresh(sample: DataSample) -> DataSample:
    """A sample with the same fields, to which others can be added.

    What ``clone`` does, but for the copies of the fields; 256 of those take longer than a step.
    """
    made = DataSample.__new__(DataSample)
    made.__dict__.update(sample.__dict__)
    made.__dict__["_data_fields"] = set(sample._data_fields)
    made.__dict__["_metainfo_fields"] = set(sample._metainfo_fields)
    return made


def pipeline_holders(config: Any) -> list[dict[str, Any]]:
    """The data sets within a data set's config that have pipelines."""
    if not isinstance(config, dict):
        return []
    if "pipeline" in config:
        return [config]
    inner = [config.get("dataset"), *(config.get("datasets") or ())]
    return [holder for each in inner for holder in pipeline_holders(each)]


def names_of(config: Mapping[str, Any]) -> str:
    """A data set's type, and those that it wraps."""
    kind = config["type"]
    name = kind if isinstance(kind, str) else kind.__name__
    inner = config.get("dataset")
    return f"{name} of {names_of(inner)}" if isinstance(inner, Mapping) else name
