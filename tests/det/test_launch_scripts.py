"""The shell scripts that start several processes: under slurm, and on several nodes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"
CONFIGS = Path(__file__).parents[2] / "configs"


def submit(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs slurm_train.sh where `srun` prints its arguments, one a line."""
    srun = folder / "srun"
    srun.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    srun.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        [str(TOOLS / "slurm_train.sh"), *arguments],
        env={"PATH": path, "PYTHON": "python3", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_slurm(tmp_path: Path) -> None:
    done = submit(
        tmp_path, "gpu", "my job", "my config.py", "work dir", "--auto-scale-lr",
        GPUS="16", SRUN_ARGS="--time=1:00 --qos=low",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "-p", "gpu", "--job-name=my job", "--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8",
        "--cpus-per-task=5", "--kill-on-bad-exit=1", "--time=1:00", "--qos=low",
        "python3", "-u", str(TOOLS / "train.py"), "my config.py",
        "--work-dir", "work dir", "--launcher", "slurm", "--auto-scale-lr",
    ]  # fmt: skip
    few = submit(tmp_path, "gpu", "job", "config.py", "work", GPUS="2", CPUS_PER_TASK="3")
    assert "--ntasks-per-node=2" in few.stdout
    assert "--cpus-per-task=3" in few.stdout


def test_slurm_says_what_it_needs(tmp_path: Path) -> None:
    done = submit(tmp_path, "gpu", "job")
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR")


@pytest.mark.long
def test_two_nodes_train_together(tmp_path: Path) -> None:
    """Two nodes of one CPU process each, which here are one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    nodes = [
        subprocess.Popen(
            [
                str(TOOLS / "dist_train.sh"), str(CONFIGS / "det/digits_fcos.py"), "1",
                "--work-dir", str(tmp_path / "work"), "--cfg-options", "train_cfg.max_epochs=1",
                "train_dataloader.dataset.indices=8", "val_dataloader.dataset.indices=4",
                "train_dataloader.dataset.settings.train_images=8",
                "train_dataloader.dataset.settings.test_images=4",
                "val_dataloader.dataset.settings.train_images=8",
                "val_dataloader.dataset.settings.test_images=4",
            ],
            env={
                **os.environ, "PYTHON": sys.executable, "LTH_DATA_ROOT": str(tmp_path),
                "NNODES": "2", "NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "PORT": port,
                "CUDA_VISIBLE_DEVICES": "",
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [node.communicate(timeout=900)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(outputs)
    # Four images a process: eight are one step of two processes.
    (checkpoint,) = (tmp_path / "work").glob("*.pth")
    assert torch.load(checkpoint, weights_only=False)["meta"]["iter"] == 1
