"""``lth completion``: the shells themselves say what they complete."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lth_core.cli import main

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
compopt() { :; }
_shtab_lth lth "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
CASES = [
    ("lth ti", "ticket"),
    ("lth ticket sh", "show"),
    ("lth ticket variant x pert", "perturb"),
    ("lth train --res", "--resume"),
    ("lth demo --stage d", "det"),
    ("lth ticket export --format t", "torch-prune"),
    ("lth ticket show my_t", "my_ticket.safetensors"),
    ("lth train my_c", "my_config.py"),
]


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script of a shell, in a directory with files to complete."""
    assert main(["completion", shell]) == 0
    path = folder / f"lth.{shell}"
    path.write_text(capsys.readouterr().out)
    for name in ("my_ticket.safetensors", "my_config.py"):
        (folder / name).touch()
    return path


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)
    for line, wanted in CASES:
        command = [shell("bash"), "-c", BASH, "bash", str(path), *line.split()]
        # Nothing else is on the path: the script asks no Python.
        done = subprocess.run(
            command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [wanted], line


def test_fish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("fish", tmp_path, capsys)
    for line, wanted in CASES:
        ask = f"source {shlex.quote(str(path))}; complete -C {shlex.quote(line)}"
        command = [shell("fish"), "--no-config", "-c", ask]
        environment = os.environ | {"HOME": str(tmp_path)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert wanted in [found.partition("\t")[0] for found in done.stdout.splitlines()], line


def test_zsh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An interactive one, on a terminal: TAB puts the rest of the word on the line."""
    path = script("zsh", tmp_path, capsys)
    functions = tmp_path / "functions"
    functions.mkdir()
    path.rename(functions / "_lth")
    command = [shell("zsh"), "-f", "-i"]
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.chdir(tmp_path)
        os.execve(command[0], command, {"TERM": "dumb", "PATH": "/usr/bin:/bin", "PS1": "> "})
    try:
        setup = "fpath+=($PWD/functions); autoload -Uz compinit; compinit -u -D; echo re''ady"
        os.write(terminal, f"{setup}\n".encode())
        assert read_until(terminal, "ready\r\n")
        for line, wanted in CASES:
            os.write(terminal, f"{line}\t".encode())
            whole = f"{line.rpartition(' ')[0]} {wanted}"
            assert read_until(terminal, whole), line
            os.write(terminal, b"\x15")  # empties the line
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


def read_until(terminal: int, wanted: str, seconds: float = 60) -> bool:
    """Whether ``wanted`` comes from a terminal, control sequences left out."""
    text, deadline = "", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|.\x08", "", text)
            if wanted in plain:
                return True
    sys.stderr.write(repr(text))
    return False
