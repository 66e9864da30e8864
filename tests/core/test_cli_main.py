"""``lth`` itself, before any command."""

from __future__ import annotations

import subprocess
import sys

import lth_core as lth
import pytest


def test_help_waits_for_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from lth_core.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*[m for m in ('torch', 'numpy', 'rich', 'mmengine') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: lth")
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("name", lth.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(lth, name).__name__.rpartition(".")[2] == name
    assert name in dir(lth)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prine'"):
        lth.prine  # noqa: B018
