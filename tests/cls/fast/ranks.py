"""One of several processes: what its loaders give, into ``FOLDER/rank_N.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from lth_core.openmmlab.compat import processes
from mmengine.dist import get_rank

from cls.fast.test_loaders import digits, loader_of


def main(folder: Path) -> None:
    processes.start("pytorch", {"dist_cfg": {"backend": "gloo"}})
    given: dict[str, Any] = {}
    for name, keys in (("stock", {}), ("ours", {"in_memory": {}})):
        loader = loader_of(digits(folder, **keys))
        given[name] = [[sample.sample_idx for sample in batch["data_samples"]] for batch in loader]
    ours = loader_of(digits(folder, in_memory={}))
    given["held"] = len(ours.dataset)
    data = ours.dataset
    # The same picture in the same batch of both: what is drawn for it tells the ranks apart.
    first = next(iter(ours.batch_sampler))
    alike = [type(first[0])(5, draw.seed) for draw in first]
    given["pixels"] = int(data.__getitems__(alike)["inputs"].to(torch.int64).sum())
    (folder / f"rank_{get_rank()}.json").write_text(json.dumps(given))
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
