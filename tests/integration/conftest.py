"""What tests of studies share: files to study, and a directory of their own with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What :func:`integration.study_config.make` writes."""
    from .study_config import make  # which imports OpenMMLab

    made = tmp_path_factory.mktemp("files")
    make(made)
    return made


@pytest.fixture
def place(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a copy of the files."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
