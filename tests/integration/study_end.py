"""A small study, run from its first job to its last."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

from lth_core.openmmlab.jobs import Result, Store


def run_to_its_end(
    script: Path, root: Path, plan: Any
) -> tuple[dict[str, Result], list[dict[str, str]]]:
    """Runs a study in ``root``; what its jobs came to, and the rows of its table."""
    command = [sys.executable, str(script), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = Store(root, plan.owner).finished(plan)
    assert results.keys() == plan.jobs.keys()
    with open(root / "results.csv", newline="") as file:
        return results, list(csv.DictReader(file))
