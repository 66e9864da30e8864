"""Lets configs inherit from lth's packages under any tool: ``_base_ = 'lth_det::det/name.py'``.

mmengine resolves ``package::path`` by a table that knows only its own family, and it does so
before a config could import anything. So Python imports this module at start-up (by the line in
``lth-core.pth``); all it does then is to watch for mmengine's table being imported.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import MutableMapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

NAMES = ("lth_cls", "lth_det", "lth_seg")
_TABLE = "mmengine.config.utils"


def add_names(table: MutableMapping[str, str]) -> None:
    """Adds lth's packages to mmengine's table of module names and distribution names."""
    for name in NAMES:
        table.setdefault(name, name.replace("_", "-"))


class _Watcher:
    """Finds nothing itself; has the names added once the table's module has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _TABLE:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_add(module: ModuleType) -> None:
            run(module)
            add_names(module.MODULE2PACKAGE)

        spec.loader.exec_module = run_and_add  # type: ignore[method-assign]
        return spec


if _TABLE not in sys.modules:
    sys.meta_path.insert(0, _Watcher())  # type: ignore[arg-type]
