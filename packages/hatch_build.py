"""Build hook of lth-cls, lth-det and lth-seg: says where lth-core comes from.

``pip install packages/lth-det`` from a checkout must take the lth-core that lies beside it, so
the built metadata points there. Where lth-core is being installed by the same command, in editable
installs and in released wheels (LTH_RELEASE=1), it names the version instead: pip refuses two
sources of one package, and a path means nothing on another machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTRAS = "[openmmlab]"


class LthCoreDependency(BuildHookInterface):
    """Adds the requirement on lth-core to the wheel's metadata."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a build; ``version`` is ``standard`` or ``editable``."""
        core = Path(self.root).parent / "lth-core"
        by_version = (
            version != "standard"
            or not core.is_dir()
            or os.environ.get("LTH_RELEASE")
            or any(path == core for path in _paths_on_command_lines())
        )
        # pip keeps wheels of folders called name-something and would hand out a stale one; of a
        # folder called "." it keeps none.
        source = f"=={self.metadata.version}" if by_version else f" @ {core.as_uri()}/."
        build_data["dependencies"].append(f"lth-core{EXTRAS}{source}")


def _paths_on_command_lines() -> Iterator[Path]:
    """Folders named on the command lines of this process's ancestors, where /proc tells them."""
    process = os.getppid()
    while process > 1:
        place = Path("/proc") / str(process)
        try:
            arguments = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            folder = (place / "cwd").resolve()
            process = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return
        for argument in arguments[1:]:
            path = (folder / argument.partition("[")[0]).resolve()
            if path.is_dir():
                yield path
