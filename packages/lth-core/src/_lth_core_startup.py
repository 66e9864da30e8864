"""What has to be in place under any tool, OpenMMLab's own ones too, before lth is imported.

- Configs inherit from packages: ``_base_ = 'lth_det::det/name.py'``. mmengine resolves
  ``package::path`` for its own family only, with setuptools' ``pkg_resources``, and of that family
  not ``mmdet::gn+ws/...``.
- mmcv's operators are there without a compiled mmcv: mmdet's and mmseg's ``tools/test.py`` and
  ``apis`` import them before they read a config.

So Python imports this module at start-up (by the line in ``lth-core.pth``); all it does then is to
watch for mmengine's config module, and for ``mmcv._ext`` where nobody else has one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGES = ("lth_cls", "lth_det", "lth_seg")
FAMILY = ("mmdet", "mmpretrain", "mmseg")
"""Packages of OpenMMLab whose names as scopes of registries are those they are imported by."""

_MODULE = "mmengine.config.config"
_OPERATORS = "mmcv._ext"


def config_path(path: str) -> str | None:
    """Where the file ``package::relative/path.py`` of lth's packages or of OpenMMLab's lies.

    Returns:
        The file's path, or None if ``path`` is of another kind, or one of OpenMMLab's that is not
        where wheels have it: mmengine may find it, or says what is wrong.

    Raises:
        ModuleNotFoundError: If the package, one of lth's, is not installed.
        FileNotFoundError: If it has no such config.
    """
    package, separator, relative = path.partition("::")
    if not separator or package not in PACKAGES + FAMILY:
        return None
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        if package in FAMILY:
            return None
        name = package.replace("_", "-")
        raise ModuleNotFoundError(f"{path} is a config of {name}, which is not installed")
    relative = relative if relative.endswith(".py") else relative + ".py"
    file = os.path.join(os.path.dirname(spec.origin), ".mim", "configs", relative)
    if not os.path.isfile(file):
        if package in FAMILY:
            return None
        raise FileNotFoundError(f"{package} has no config {relative} (looked for {file})")
    return file


def amend(module: ModuleType) -> None:
    """Teaches ``mmengine.config.config`` where packages keep configs. Safe to call again."""
    config = module.Config
    elsewhere = config._get_cfg_path
    if elsewhere.__module__ == __name__:
        return

    def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        file = config_path(cfg_path)
        if file is None:
            return elsewhere(cfg_path, filename)
        # lth's packages have no registries of their own, they use OpenMMLab's.
        package = cfg_path.partition("::")[0]
        return file, package if package in FAMILY else None

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


class _Operators:
    """Finds lth's stand-in for mmcv's compiled half; asked last, so a compiled one wins."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _OPERATORS:
            return None
        try:
            from lth_core.openmmlab.compat import mmcv_ext
        except ModuleNotFoundError:  # lth-core without its extra
            return None
        return mmcv_ext.spec()


def watch() -> None:
    """Amends mmengine's config module as soon as it is imported, and offers mmcv's operators."""
    if not any(isinstance(finder, _Operators) for finder in sys.meta_path):
        sys.meta_path.append(_Operators())
    if _MODULE in sys.modules:
        amend(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _Watcher())


watch()
