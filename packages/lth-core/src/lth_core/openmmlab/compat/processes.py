"""Processes of one training: nccl on GPUs, and gloo where mmengine insists on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import init_dist


def start(launcher: str, env_cfg: Mapping[str, Any]) -> None:
    """Joins the process group of ``launcher``, unless that is ``"none"`` or it has been joined.

    Args:
        launcher: mmengine's: ``none``, ``pytorch``, ``slurm``, ``mpi``.
        env_cfg: The config's ``env_cfg``; its ``dist_cfg`` is used on GPUs.
    """
    if launcher == "none" or dist.is_initialized():
        return
    if launcher == "pytorch" and not torch.cuda.is_available():
        dist.init_process_group("gloo")
    else:
        init_dist(launcher, **dict(env_cfg.get("dist_cfg", {})))


def leave() -> None:
    """Leaves the process group, if it has been joined, once all processes have come so far.

    Threads of the group that still run when Python ends abort the process, so this comes before.
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
