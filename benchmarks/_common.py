"""What the benchmarks share: arguments, a description of the machine, interleaved timing, a table.

Each benchmark answers one question, times both sides in one run, turn by turn, and writes what it
has found as JSON, from which ``tables.py`` makes the page of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


def arguments(documentation: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds on a CPU: does it work?")
    parser.add_argument("--output", help="JSON file to write")
    return parser


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
        "load": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def devices() -> list[str]:
    """Where to measure: the CPU, and a GPU if there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


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
        for name in in_turn(names, index):
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            sides[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if index >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def in_turn(names: list[str], index: int) -> list[str]:
    """The order of the sides in a round."""
    turn = index % len(names)
    return names[turn:] + names[:turn]


def ratio(ours: list[float], other: list[float]) -> float:
    """Median over rounds of ours / other: a drift of the machine's speed cancels."""
    return statistics.median(a / b for a, b in zip(ours, other, strict=True))


def spread(values: list[float]) -> float:
    """Half of what lies between the quartiles; 0 of fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def report(title: str, rows: list[dict[str, Any]], output: str | None) -> None:
    """Prints ``rows`` as a table and, with ``output``, writes them with the machine as JSON."""
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="right" if key != "side" else "left")
    for row in rows:
        table.add_row(*map(shown, row.values()))
    console = Console()
    console.print(table)
    console.print(machine())
    if output:
        found = {"title": title, "command": _command(), "machine": machine(), "rows": rows}
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(json.dumps(found, indent=2) + "\n")


def shown(value: Any) -> str:
    """A number with four digits; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _command() -> str:
    """How this was called, without where it has written to."""
    words = sys.argv[1:]
    if "--output" in words:
        place = words.index("--output")
        words = words[:place] + words[place + 2 :]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])
