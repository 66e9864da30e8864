"""``torch.distributed.run`` on a machine without GPUs: two processes, whatever was asked for.

Of several nodes the first starts the second's part too, and the second's own command does nothing.
"""

from __future__ import annotations

import subprocess
import sys


def main(arguments: list[str]) -> int:
    """Runs ``-m torch.distributed.run ...``; returns its exit code."""

    def put(option: str, value: str) -> list[str]:
        place = arguments.index(option) + 1
        return [*arguments[:place], value, *arguments[place + 1 :]]

    if "--node_rank" not in arguments:
        return subprocess.call([sys.executable, *put("--nproc_per_node", "2")])
    if arguments[arguments.index("--node_rank") + 1] != "0":
        return 0
    arguments = put("--nproc_per_node", "1")
    arguments = put("--nnodes", "2")
    arguments = put("--master_addr", "127.0.0.1")
    nodes = [subprocess.Popen([sys.executable, *put("--node_rank", rank)]) for rank in "01"]
    return max(node.wait() for node in nodes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
