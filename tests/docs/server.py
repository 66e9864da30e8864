"""Runs ``lth`` and Python programs in children of one process that has imported everything.

A page has dozens of commands, and each would import PyTorch and OpenMMLab anew. ``client`` stands
on PATH under the names ``lth`` and ``python``, and hands its arguments, directory, variables and
open files to this process.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

HEAVY = ("torchvision", "matplotlib.pyplot", "pandas", "lth_cls", "lth_det", "lth_seg",
         "mmdet.models", "mmseg.models", "mmpretrain.models", "lth_core.openmmlab.launch",
         "lth_core.cli.main")  # fmt: skip

CLIENT = """#!{python} -SE
import json, os, socket, sys
name = os.path.basename(sys.argv[0])
arguments = sys.argv[1:]
if name == "python" and not (arguments and arguments[0].endswith(".py")):
    launcher = [{launcher!r}] if arguments[:2] == ["-m", "torch.distributed.run"] else []
    os.execv({python!r}, [{python!r}, *launcher, *arguments])
request = [name, arguments, os.getcwd(), dict(os.environ)]
with socket.socket(socket.AF_UNIX) as link:
    link.connect({socket!r})
    socket.send_fds(link, [b"."], [0, 1, 2])
    link.sendall(json.dumps(request).encode() + b"\\n")
    sys.exit(int(link.makefile().readline() or 1))
"""


def serve(path: str) -> None:
    """Answers clients, one at a time, until standard input is closed."""
    for name in HEAVY:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(link)
            link.close()


def _answer(link: socket.socket) -> None:
    """Runs a program in a child of its own and says how it ended; never returns."""
    _, files, _, _ = socket.recv_fds(link, 1, 3)
    name, arguments, folder, variables = json.loads(link.makefile().readline())
    child = os.fork()
    if child == 0:
        link.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        os._exit(_run(name, arguments))
    ended, status = 0, 0
    while not ended:
        if select.select([link], [], [], 0.02)[0]:  # who asked has been killed
            os.kill(child, signal.SIGKILL)
            os._exit(1)
        ended, status = os.waitpid(child, os.WNOHANG)
    link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(name: str, arguments: list[str]) -> int:
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in enumerate("rww")
    )
    sys.argv = [name, *arguments] if name == "lth" else arguments
    code = 0
    try:
        if name == "lth":
            code = importlib.import_module("lth_core.cli.main").main(arguments)
        else:
            sys.path.insert(0, str(Path(arguments[0]).parent.absolute()))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
