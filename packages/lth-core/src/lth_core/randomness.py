"""Torch's own generators, borrowed: what runs inside draws from them and leaves them as they were.

Layers that draw (dropout, initialisers) know no generator but torch's. Under :func:`borrowed` they
follow a seed, and whoever draws afterwards sees the stream as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def draw_seed(generator: torch.Generator | None) -> int | None:
    """A seed drawn from ``generator``, or None (go on with torch's own stream) without one."""
    if generator is None:
        return None
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


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
