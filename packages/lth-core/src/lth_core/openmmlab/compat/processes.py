"""Processes of one training: nccl on GPUs, and gloo where mmengine insists on a GPU."""

from __future__ import annotations

import gc
import os
import subprocess
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
    if torch.cuda.is_available():
        init_dist(launcher, **dict(env_cfg.get("dist_cfg", {})))
        return
    if launcher == "slurm":
        _name_ranks_as_torchrun_does()
    dist.init_process_group("gloo")


def _name_ranks_as_torchrun_does() -> None:
    """Gives what Slurm calls its tasks the names that torch looks for."""
    for name, of_slurm in (
        ("RANK", "SLURM_PROCID"),
        ("LOCAL_RANK", "SLURM_LOCALID"),
        ("WORLD_SIZE", "SLURM_NTASKS"),
    ):
        os.environ.setdefault(name, os.environ[of_slurm])
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        nodes = ["scontrol", "show", "hostname", os.environ["SLURM_NODELIST"]]
        found = subprocess.run(nodes, check=True, capture_output=True, text=True)
        os.environ["MASTER_ADDR"] = found.stdout.split()[0]


def leave() -> None:
    """Leaves the process group, if it has been joined, once all processes have come so far.

    What has wrapped a model holds on to the group, and cycles hold on to that; as long as it lives,
    so do gloo's threads. One that lets go of a tensor while Python ends aborts the process. So
    nothing of a training may be referred to any more when this is called.
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        gc.collect()
