"""Data sets that are read once for a whole chain, and a heap that is searched once.

Each level of a chain gets a copy of its own of a data set as it was when it had just been built,
so whatever a training does to its data set ends with it. Only what nobody writes to is shared: the
annotations, which mmengine keeps as one array of pickled bytes.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from lth_core.randomness import restore_streams, stream_states


@dataclass
class _Kept:
    """A data set as it was built.

    Attributes:
        config: What of.
        before: The random streams before it was built.
        after: And after.
        pristine: The data set, which nobody uses.
    """

    config: Mapping[str, Any]
    before: tuple[Any, ...]
    after: Mapping[str, Any]
    pristine: Any


class KeptData:
    """The data sets of a chain."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def build(self, config: Mapping[str, Any]) -> Any:
        """The data set that ``config`` describes, as if it were built here and now.

        One that draws random numbers while it is built is only the same if it draws the same ones.
        """
        before = _exactly(stream_states())
        for each in self._kept:
            if each.config == config and each.before == before:
                restore_streams(each.after)
                return _copy(each.pristine)
        asked = copy.deepcopy(config)
        dataset = DATASETS.build(config)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
        if not _can_be_kept(dataset):
            return dataset
        after = stream_states()
        self._kept.append(_Kept(asked, before, after, dataset))
        return _copy(dataset)


_IN_USE: ContextVar[KeptData | None] = ContextVar("data sets that are kept", default=None)


@contextmanager
def keeping(kept: KeptData) -> Iterator[None]:
    """What builds data loaders inside takes its data sets from ``kept``."""
    token = _IN_USE.set(kept)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def with_kept(dataloader: Any) -> Any:
    """A data loader's config with its data set built, where data sets are kept."""
    kept = _IN_USE.get()
    if kept is None or not isinstance(dataloader, Mapping):
        return dataloader
    if not isinstance(dataloader.get("dataset"), Mapping):
        return dataloader
    return {**dataloader, "dataset": AsIs(kept.build(dataloader["dataset"]))}


class AsIs:
    """Brings a data set through mmengine, which copies what a data loader is built of."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __deepcopy__(self, memo: Any) -> Any:
        return self.dataset


@contextmanager
def settled_heap() -> Iterator[None]:
    """Takes what there is out of the garbage collector's sight.

    mmengine collects garbage at each data set that it builds, and in a process that has imported
    OpenMMLab that takes a third of a second. What is made inside is collected as ever.
    """
    mine = gc.get_freeze_count() == 0
    if mine:
        gc.freeze()
    try:
        yield
    finally:
        if mine:
            gc.unfreeze()


def _exactly(states: Mapping[str, Any]) -> tuple[Any, ...]:
    """Random streams as something that can be compared."""
    tensors = [states["torch"], *states["cuda"]]
    return (
        states["python"],
        states["numpy"],
        *(tensor.cpu().numpy().tobytes() for tensor in tensors),
    )


def _can_be_kept(dataset: Any) -> bool:
    """Whether a copy shares the bulk of what ``dataset`` holds."""
    inner = list(_inner(dataset))
    if isinstance(dataset, BaseDataset):
        return bool(dataset.serialize_data)
    return bool(inner) and all(map(_can_be_kept, inner))


def _inner(dataset: Any) -> Iterator[Any]:
    """The data sets that a wrapper wraps."""
    if isinstance(getattr(dataset, "datasets", None), (list, tuple)):
        yield from dataset.datasets
    elif hasattr(dataset, "dataset"):
        yield dataset.dataset


def _copy(dataset: Any) -> Any:
    shared: dict[int, Any] = {}
    _share(dataset, shared)
    return copy.deepcopy(dataset, shared)


def _share(dataset: Any, shared: dict[int, Any]) -> None:
    if isinstance(dataset, BaseDataset):
        for array in (dataset.data_bytes, dataset.data_address):
            shared[id(array)] = array
    for inner in _inner(dataset):
        _share(inner, shared)
