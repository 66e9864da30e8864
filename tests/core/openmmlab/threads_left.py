"""Prints how many of gloo's threads are left when Python ends; named in ``custom_imports``."""

from __future__ import annotations

import atexit
from pathlib import Path


def _say() -> None:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    print(f"threads of gloo: {sum('gloo' in name for name in names)}", flush=True)


atexit.register(_say)
