"""What commands need beyond lth_core's own floor, imported when it is called for."""

from __future__ import annotations

import importlib
from types import ModuleType

from lth_core.errors import LTHError


def openmmlab(command: str, module: str) -> ModuleType:
    """The module ``lth_core.openmmlab.MODULE``.

    Raises:
        LTHError: If what ``command`` needs is not installed.
    """
    try:
        return importlib.import_module(f"lth_core.openmmlab.{module}")
    except ModuleNotFoundError as problem:
        raise LTHError(
            f"lth {command} needs {problem.name}, which is not installed; "
            "install lth-cls, lth-det or lth-seg"
        ) from None


def extra(command: str, module: str, name: str) -> ModuleType:
    """A module that needs an extra of lth-core.

    Args:
        command: Who asks, for the message.
        module: Its full name.
        name: Of the extra.

    Raises:
        LTHError: If what ``command`` needs is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        raise LTHError(
            f"lth {command} needs {problem.name}, which is not installed; "
            f'pip install "lth-core[{name}]"'
        ) from None
