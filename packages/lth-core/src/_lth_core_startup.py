"""Lets configs inherit from lth's packages under any tool: ``_base_ = 'lth_det::det/name.py'``.

mmengine resolves ``package::path`` for its own family only, and it does so before a config could
import anything. So Python imports this module at start-up (by the line in ``lth-core.pth``); all
it does then is to watch for mmengine's config module being imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGES = ("lth_cls", "lth_det", "lth_seg")
_MODULE = "mmengine.config.config"


def config_path(path: str) -> str | None:
    """Where the file ``package::relative/path.py`` of one of lth's packages lies.

    Returns:
        The file's path, or None if ``path`` is of another kind.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        FileNotFoundError: If it has no such config.
    """
    package, separator, relative = path.partition("::")
    if not separator or package not in PACKAGES:
        return None
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        name = package.replace("_", "-")
        raise ModuleNotFoundError(f"{path} is a config of {name}, which is not installed")
    relative = relative if relative.endswith(".py") else relative + ".py"
    file = os.path.join(os.path.dirname(spec.origin), ".mim", "configs", relative)
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{package} has no config {relative} (looked for {file})")
    return file


def amend(module: ModuleType) -> None:
    """Teaches ``mmengine.config.config`` lth's packages. Safe to call again."""
    config = module.Config
    elsewhere = config._get_cfg_path
    if elsewhere.__module__ == __name__:
        return

    def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        file = config_path(cfg_path)
        # No scope: lth's packages have no registries of their own, they use OpenMMLab's.
        return elsewhere(cfg_path, filename) if file is None else (file, None)

    config._get_cfg_path = staticmethod(_get_cfg_path)


class _Watcher:
    """Finds nothing itself; has the module amended once it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_amend(module: ModuleType) -> None:
            run(module)
            amend(module)

        spec.loader.exec_module = run_and_amend  # type: ignore[method-assign]
        return spec


def watch() -> None:
    """Amends mmengine's config module as soon as it is imported."""
    if _MODULE in sys.modules:
        amend(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _Watcher())


watch()
