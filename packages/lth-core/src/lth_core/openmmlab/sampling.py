"""Data loading that depends on the seed alone: not on workers, restarts, or what ran before.

mmengine seeds each worker process once, so what random augmentation does to a sample depends on
how many workers there are and on all that they have loaded before, which a restart forgets. Here
every draw of a sample carries a seed of its own, made of the run's seed, the rank, the pass over
the data and the position in it, and is loaded under that seed. So a training that is resumed
anywhere sees what it would have seen, and the first batches are not loaded again to get there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch.utils.data import DataLoader

from lth_core.randomness import begin_streams, isolated, seed_at


class Draw(int):
    """The index of a sample, with the seed under which it is to be loaded."""

    seed: int

    def __new__(cls, index: int, seed: int) -> Draw:
        """The index ``index``, to be loaded under ``seed`` (63 bits)."""
        drawn = super().__new__(cls, index)
        drawn.seed = seed
        return drawn

    def __reduce__(self) -> tuple[Any, ...]:
        return Draw, (int(self), self.seed)


class SeededBatches:
    """A batch sampler that seeds each draw of another one, and can begin in the middle.

    Args:
        batches: The batch sampler.
        seed: The run's seed.
        rank: This process's.

    Attributes:
        epoch: Passes over the data that are over.
        skip: Batches that the next pass leaves out at its beginning.
    """

    def __init__(self, batches: Any, seed: int, rank: int) -> None:
        self.batches = batches
        self.seed = seed
        self.rank = rank
        self.epoch = 0
        self.skip = 0

    def __getattr__(self, name: str) -> Any:
        if name == "batches":  # not there yet, while it is being unpickled
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        # From here on at the first batch only: data loaders ask for iterators that they never use.
        epoch, skip = self.epoch, self.skip
        self.epoch, self.skip = epoch + 1, 0
        for number, batch in enumerate(itertools.islice(self.batches, skip, None), skip):
            yield [
                Draw(index, seed_at(self.seed, self.rank, epoch, number, place))
                for place, index in enumerate(batch)
            ]


def seed_items(dataset: Any) -> Any:
    """Makes ``dataset``, in place, load draws under their seeds; it stays what it is otherwise.

    It gets a subclass of its class, which is called the same; hooks that look into the data set,
    or change it, find what they look for. One that makes whole batches from the seeds of their
    draws itself says so by ``seeds_batches``, and is left alone.
    """
    plain: Any = type(dataset)
    if hasattr(plain, "_lth_plain") or getattr(plain, "seeds_batches", False):
        return dataset

    def get_item(self: Any, index: Any) -> Any:
        if not isinstance(index, Draw):
            return plain.__getitem__(self, index)
        return get_items(self, [index])[0]

    def get_items(self: Any, indices: Sequence[Any]) -> list[Any]:
        # What data loaders call: putting the streams back costs more than setting them.
        items = []
        with isolated():
            for index in indices:
                if isinstance(index, Draw):
                    begin_streams(index.seed)
                items.append(plain.__getitem__(self, int(index)))
        return items

    def reduce(self: Any, protocol: Any) -> Any:
        # A class that was made while running cannot be found again by name.
        return _rebuild, (plain, self.__dict__)

    body: dict[str, Any] = {
        "__module__": plain.__module__,
        "__doc__": plain.__doc__,
        "__getitem__": get_item,
        "__getitems__": get_items,
        "__reduce_ex__": reduce,
        "_lth_plain": plain,
    }
    # Objects of built-in types cannot change their class; those draw no random numbers either.
    with suppress(TypeError):
        dataset.__class__ = type(plain.__name__, (plain,), body)
    return dataset


def _rebuild(plain: Any, attributes: dict[str, Any]) -> Any:
    dataset = plain.__new__(plain)
    dataset.__dict__.update(attributes)
    return seed_items(dataset)


def seed_loader(loader: DataLoader, seed: int, rank: int) -> DataLoader:
    """Makes a data loader, in place, depend on ``seed`` alone.

    Loaders of iterable data sets, and those without batches, stay what they are.
    """
    batches = getattr(loader, "batch_sampler", None)
    if batches is None or not hasattr(type(loader.dataset), "__getitem__"):
        return loader
    seed_items(loader.dataset)
    # DataLoader refuses a plain assignment, since its workers might be at work.
    loader.__dict__["batch_sampler"] = SeededBatches(batches, seed, rank)
    # Workers' own seeds, which nothing depends on any more, are not drawn from the global stream.
    loader.generator = torch.Generator().manual_seed(seed)
    return loader


def end_workers(loop: Any) -> None:
    """Ends the worker processes of a loop's data loader, if it has any.

    Left to the garbage collector, which closes their queues first, they would find out after
    seconds, and whoever waits for them would wait as long.
    """
    endless = getattr(loop, "dataloader_iterator", None)
    iterators: list[Any] = [
        getattr(getattr(loop, "dataloader", None), "_iterator", None),
        getattr(getattr(endless, "_endless", endless), "_iterator", None),
    ]
    for iterator in iterators:
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
