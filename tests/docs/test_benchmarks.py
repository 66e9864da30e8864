"""The page of benchmarks says what their files say, and every benchmark is on it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = ("all", "tables", "_common")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = {name: importlib.import_module(name) for name in names}
    yield found
    for name in names:
        sys.modules.pop(name, None)


def test_the_page_is_what_the_files_say(modules: dict[str, ModuleType]) -> None:
    page = modules["tables"].page_of(FOLDER, modules["all"].BENCHMARKS)
    assert (FOLDER / "index.md").read_text() == page  # else run benchmarks/tables.py


def test_every_number_of_a_file_is_in_its_table(modules: dict[str, ModuleType]) -> None:
    page = (FOLDER / "index.md").read_text()
    for name in modules["all"].BENCHMARKS:
        if not (FOLDER / f"{name}.json").exists():
            continue
        found = json.loads((FOLDER / f"{name}.json").read_text())
        assert f"`{found['command']}`" in page
        assert found["machine"]["cpu"] in page
        for row in found["rows"]:
            cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
            lines = [line.strip("| ").split(" | ") for line in page.splitlines()]
            assert any(set(cells) - {"None"} <= set(line) for line in lines)


def test_every_benchmark_is_run_and_shown(modules: dict[str, ModuleType]) -> None:
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    listed = {*modules["all"].BENCHMARKS, *modules["all"].APART}
    assert listed == scripts - {"all", "tables"}


def test_a_benchmark_without_numbers_is_said_to_have_none(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    page = modules["tables"].page_of(tmp_path, ["prune_time"])
    assert "No numbers yet: `python benchmarks/prune_time.py`" in page


def test_the_spread_is_half_of_what_lies_between_the_quartiles(
    modules: dict[str, ModuleType],
) -> None:
    assert modules["_common"].spread([4.0, 1.0, 2.0, 3.0, 5.0]) == 1.0
    assert modules["_common"].spread([7.0]) == 0.0
