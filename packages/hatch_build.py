"""Build hook of lth-cls, lth-det and lth-seg: says where lth-core comes from.

``pip install packages/lth-det`` from a checkout must take the lth-core that lies beside it, so
the built metadata points there. Editable installs and released wheels name the version instead:
pip refuses an editable package that another one requires by path, and a path means nothing on
another machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTRAS = "[openmmlab]"


class LthCoreDependency(BuildHookInterface):
    """Adds the requirement on lth-core to the wheel's metadata."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a build; ``version`` is ``standard`` or ``editable``."""
        core = Path(self.root).parent / "lth-core"
        by_path = version == "standard" and core.is_dir() and not os.environ.get("LTH_RELEASE")
        source = f" @ {core.as_uri()}" if by_path else f"=={self.metadata.version}"
        build_data["dependencies"].append(f"lth-core{EXTRAS}{source}")
