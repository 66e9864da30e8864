"""Data on the device: pictures in its memory, batches augmented there.

The config key ``in_memory`` does this for any model of mmpretrain's whose pictures fit,
``device_views`` for the views of self-supervised ones whose pictures do not.
"""

from lth_cls.fast import blur, colour, geometry  # noqa: F401  # register what they have
from lth_cls.fast.batched import Batched, BatchedTransform, batched, known, stands_for
from lth_cls.fast.dataset import InMemory
from lth_cls.fast.draws import Draws
from lth_cls.fast.pipeline import Pipeline
from lth_cls.fast.settings import InMemorySettings, parse_in_memory
from lth_cls.fast.views import BatchedViews, SeedViews

__all__ = [
    "Batched",
    "BatchedTransform",
    "BatchedViews",
    "Draws",
    "InMemory",
    "InMemorySettings",
    "Pipeline",
    "SeedViews",
    "batched",
    "known",
    "parse_in_memory",
    "stands_for",
]
