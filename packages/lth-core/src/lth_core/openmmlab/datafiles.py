"""Files that a data set lists, looked for before training starts."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lth_core.openmmlab.embedded import DataError


def require_files(paths: Iterable[str], source: str) -> None:
    """Checks that files exist; each folder is read once.

    Args:
        paths: The files.
        source: Where they come from, for the message.

    Raises:
        DataError: With the first that is missing, and how many are.
    """
    folders: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in folders[folder]:
            missing.append(path)
    if missing:
        rest = f", nor do {len(missing) - 1} others" if len(missing) > 1 else ""
        where = os.path.abspath(missing[0])
        raise DataError(f"{missing[0]} does not exist (looked for {where}){rest}; {source}")
