"""What the benchmarks share: a description of the machine, interleaved timing, a table, JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


def machine() -> dict[str, Any]:
    """Processor, accelerator and library versions."""
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def interleave(
    sides: Mapping[str, Callable[[], object]], rounds: int, warm_up: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each call, the sides taking turns, each round in another order.

    Args:
        sides: What to time, by name.
        rounds: Calls of each side that count.
        warm_up: Calls of each side before.
        device: If ``"cuda"``, the GPU's work is waited for.
    """
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(-warm_up, rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            sides[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if index >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(ours: list[float], other: list[float]) -> float:
    """Median over rounds of ours / other: a drift of the machine's speed cancels."""
    return statistics.median(a / b for a, b in zip(ours, other, strict=True))


def report(title: str, rows: list[dict[str, Any]], output: str | None) -> None:
    """Prints ``rows`` as a table and, with ``output``, writes them with the machine as JSON."""
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="right" if key != "side" else "left")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    console = Console()
    console.print(table)
    console.print(machine())
    if output:
        Path(output).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
