"""A page as a reader would go through it: one directory, one shell, block after block."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .blocks import ROOT, Block
from .server import CLIENT

HERE = Path(__file__).parent
NEXT = "\x1e"  # printed between the blocks of one program
TIMEOUT = 900


@dataclass(frozen=True)
class Workshop:
    """What stands in for the reader's machine.

    Attributes:
        bin: Programs that go before all others.
        variables: The environment.
    """

    bin: Path
    variables: dict[str, str]


@contextmanager
def workshop(folder: Path) -> Iterator[Workshop]:
    """A machine on which every training is small, and what it lacks has stand-ins."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    socket = str(folder / "socket")
    for name in ("lth", "python"):
        (bin_folder / name).write_text(
            CLIENT.format(python=sys.executable, socket=socket, launcher=str(HERE / "launcher.py"))
        )
    for script in (HERE / "programs").iterdir():
        (bin_folder / script.name).write_text(script.read_text())
    for program in bin_folder.iterdir():
        program.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LTH_", "SLURM_"))}
    variables = kept | {
        "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHON": str(bin_folder / "python"),  # of tools/*.sh
        "PYTHONPATH": f"{HERE / 'small'}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
        "LTH_ROOT": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "COLUMNS": "100",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", HERE / "server.py", socket],
        env=variables, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield Workshop(bin_folder, variables)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def run_page(blocks: list[Block], place: Path, shop: Workshop) -> None:
    """Runs blocks one after the other.

    Args:
        blocks: Of one page.
        place: Where; may hold files that the page takes for granted.
        shop: What to run them with.

    Raises:
        AssertionError: If one fails, or prints something else than the page says.
    """
    for name in ("tools", "configs", "packages", "docs"):
        if not (place / name).exists():
            (place / name).symlink_to(ROOT / name)
    printed = ""
    waiting: list[str] = []
    for index, block in enumerate(blocks):
        if block.kind == "file":
            target = place / block.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
            if block.name.endswith(".py") and "_base_ =" in block.text:
                check = f"from mmengine import Config; Config.fromfile({block.name!r})\n"
                _python(check, place, shop, block)
        elif block.kind == "bash":
            printed = _bash(block, place, shop)
        elif block.kind == "python":
            printed = _python(block.text, place, shop, block, waiting)
            following = [each.kind for each in blocks[index + 1 :] if each.kind != "output"]
            waiting = [*waiting, block.text] if following[:1] == ["python"] else []
        elif block.kind == "output":
            assert _agree(block, printed), (
                f"line {block.line}: the page says\n{block.text}\nbut this was printed:\n{printed}"
            )


def _bash(block: Block, place: Path, shop: Workshop) -> str:
    state = shop.bin.parent / f"state_{place.name}"
    script = (
        f'set -euo pipefail\n[ ! -f {state} ] || {{ source {state}; cd "$PWD"; }}\n'
        f"{block.text}\nexport -p | grep -v ' PATH=' > {state}\n"
    )
    return _run(["bash", "-c", script], place, shop, block)


def _python(
    code: str, place: Path, shop: Workshop, block: Block, before: list[str] | None = None
) -> str:
    """Runs a block after those that are of the same program; what it prints itself."""
    separator = f"\nprint({NEXT!r}, end='', flush=True)\n"
    file = shop.bin.parent / f"block_{block.line}.py"
    file.write_text("".join(text + separator for text in before or []) + code)
    return _run(["python", str(file)], place, shop, block).rpartition(NEXT)[2]


def _run(command: list[str], place: Path, shop: Workshop, block: Block) -> str:
    program = str(shop.bin / command[0]) if (shop.bin / command[0]).exists() else command[0]
    begun = time.perf_counter()
    done = subprocess.run(
        [program, *command[1:]], cwd=place, env=shop.variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    print(f"line {block.line}: {time.perf_counter() - begun:.1f} s")
    assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stdout[-1500:]}"
    return done.stdout


def _agree(block: Block, printed: str) -> bool:
    """Whether output is what a page says: ``...`` is anything, blanks and colours do not count."""
    said, printed = _plain(block.text), _plain(re.sub(r"\x1b\[[\d;]*m", "", printed))
    if block.other_numbers:
        said, printed = (re.sub(r"[\d,.]*\d", "0", text) for text in (said, printed))
    pattern = ".*".join(re.escape(part.strip()) for part in said.split("..."))
    return re.search(pattern, printed, flags=re.S) is not None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\u2500-\u257f]+", " ", text).split())
