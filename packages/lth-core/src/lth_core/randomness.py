"""Torch's own generators, borrowed: what runs inside draws from them and leaves them as they were.

Layers that draw (dropout, initialisers) know no generator but torch's. Under :func:`borrowed` they
follow a seed, and whoever draws afterwards sees the stream as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def draw_seed(generator: torch.Generator | None) -> int | None:
    """A seed drawn from ``generator``, or None (go on with torch's own stream) without one."""
    if generator is None:
        return None
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def seed_at(*where: object) -> int:
    """63 bits that are unlike those of any other place."""
    digest = hashlib.blake2b(repr(where).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def borrowed(seed: int | None = None, device: torch.device | None = None) -> Iterator[None]:
    """Lends torch's generators, seeded with ``seed`` if given, and puts them back afterwards.

    Args:
        seed: Where the streams start; where they are now if None.
        device: The accelerator that will draw too, besides the CPU.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        if seed is not None:
            # Not torch.manual_seed: that reaches devices which nobody puts back.
            torch.default_generator.manual_seed(seed)
            for each in cuda:
                with torch.cuda.device(each):
                    torch.cuda.manual_seed(seed)
        yield


@contextmanager
def isolated(seed: int | None = None) -> Iterator[None]:
    """Lends the CPU's three random streams (Python's, NumPy's, torch's), then puts them back.

    Args:
        seed: Where they start; where they are now if None.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    if seed is not None:
        begin_streams(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def begin_streams(seed: int) -> None:
    """Sets the CPU's three random streams to where ``seed`` (63 bits) begins."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed, which would reach the accelerators' streams too.
    torch.default_generator.manual_seed(seed)


def stream_states() -> dict[str, Any]:
    """Where the random streams of this process stand, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": (version, list(words), gauss),
        "numpy": (name, [int(key) for key in keys], position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def restore_streams(states: Mapping[str, Any]) -> None:
    """Puts the random streams where :func:`stream_states` has found them.

    States of accelerators that are not here are passed over.
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
