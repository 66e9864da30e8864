"""Several processes hold all of the data each, and take their shares of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_each_process_takes_its_share(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        [*launcher, str(script), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2))
    for rank in (first, second):
        assert rank["ours"] == rank["stock"]
        assert rank["held"] == 90
    taken = [{index for batch in rank["ours"] for index in batch} for rank in (first, second)]
    assert not taken[0] & taken[1]
    assert len(taken[0] | taken[1]) == 64  # batches of 16 that are whole, on each of the two
    assert first["pixels"] != second["pixels"]
