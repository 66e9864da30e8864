"""Slurm as submitit sees it, on one machine: linked to as sbatch, srun, sacct, scontrol, scancel.

Jobs run at once. What there is lies in the folder ``FAKE_SLURM``: of each job its script, its
process, how it ended, and in ``calls`` what was called.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scontrol", "scancel")


def install(folder: Path) -> dict[str, str]:
    """Makes the commands; what the environment must have for them to be found."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    for name in COMMANDS:
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} {name} "$@"\n')
        path.chmod(0o755)
    return {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(folder)}


def calls(folder: Path, name: str) -> int:
    """How often a command was called."""
    return (folder / "calls").read_text().split().count(name)


def start(folder: Path, number: str) -> None:
    names = {"JOB_ID": number, "NTASKS": "1", "JOB_NUM_NODES": "1", "NODEID": "0", "PROCID": "0"}
    environment = {f"SLURM_{name}": value for name, value in names.items()}
    script = f"bash {folder / number}.sh; echo $? > {folder / number}.code"
    with open(os.devnull, "r+") as nowhere:
        process = subprocess.Popen(
            ["bash", "-c", script],
            env={**os.environ, **environment, "SLURM_LOCALID": "0"},
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )
    (folder / f"{number}.pid").write_text(str(process.pid))


def sbatch(folder: Path, words: list[str]) -> None:
    number = str(100 + len(list(folder.glob("*.sh"))))
    (folder / f"{number}.sh").write_text(Path(words[-1]).read_text())
    start(folder, number)
    print(f"Submitted batch job {number}")


def srun(folder: Path, words: list[str]) -> None:
    number = os.environ["SLURM_JOB_ID"]
    places = {"--output": 1, "--error": 2}
    while words[0].startswith("-"):
        option = words.pop(0)
        if option in places:
            file = words.pop(0).replace("%j", number).replace("%t", "0")
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), places[option])
    os.execvp(words[0], words)


def sacct(folder: Path, words: list[str]) -> None:
    print("JobID|State|NodeList")
    for number in re.findall(r"-j (\d+)", " ".join(words)):
        ended = folder / f"{number}.code"
        state = "RUNNING"
        if ended.exists():
            state = "COMPLETED" if ended.read_text().strip() == "0" else "FAILED"
        print(f"{number}|{state}|here")


def scontrol(folder: Path, words: list[str]) -> None:
    assert words[0] == "requeue"
    # Really Slurm ends the job first, which has told its work to go on later.
    start(folder, words[1])


def scancel(folder: Path, words: list[str]) -> None:
    os.killpg(int((folder / f"{words[0]}.pid").read_text()), signal.SIGTERM)


if __name__ == "__main__":
    place = Path(os.environ["FAKE_SLURM"])
    with open(place / "calls", "a") as log:
        log.write(f"{sys.argv[1]}\n")
    globals()[sys.argv[1]](place, sys.argv[2:])
