"""What has to be in place under any tool, OpenMMLab's own ones too, before lth is imported.

- Configs inherit from packages: ``_base_ = 'lth_det::det/name.py'``. mmengine resolves
  ``package::path`` for its own family only, with setuptools' ``pkg_resources``, and of that family
  not ``mmdet::gn+ws/...``.
- mmcv's operators are there without a compiled mmcv: mmdet's and mmseg's ``tools/test.py`` and
  ``apis`` import them before they read a config.
- mmseg's ``get_flops.py`` runs: it gives mmengine's counter a shape and a picture, which the
  counter refuses.

So Python imports this module at start-up (by the line in ``lth-core.pth``); all it does then is to
watch for two of mmengine's modules, and for ``mmcv._ext`` where nobody else has one.
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


def amend_counter(module: ModuleType) -> None:
    """Has ``mmengine.analysis.print_helper`` take the picture where it is given a shape too."""
    counter = module.get_model_complexity_info
    if counter.__module__ == __name__:
        return

    def get_model_complexity_info(
        model: object,
        input_shape: object = None,
        inputs: object = None,
        *args: object,
        **kwargs: object,
    ) -> object:
        shape = input_shape if inputs is None else None
        return counter(model, shape, inputs, *args, **kwargs)

    module.get_model_complexity_info = get_model_complexity_info  # type: ignore[attr-defined]


_AMENDMENTS = {
    "mmengine.config.config": amend,
    "mmengine.analysis.print_helper": amend_counter,
}


class _Watcher:
    """Finds nothing itself; has modules amended once they have run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _AMENDMENTS:
            return None
        sys.meta_path.remove(self)  # for the others to look
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_amend(module: ModuleType) -> None:
            run(module)
            _AMENDMENTS[name](module)

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
    """Amends mmengine's modules as soon as they are imported, and offers mmcv's operators."""
    if not any(isinstance(finder, _Operators) for finder in sys.meta_path):
        sys.meta_path.append(_Operators())
    for name, amendment in _AMENDMENTS.items():
        if name in sys.modules:
            amendment(sys.modules[name])
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())


watch()
