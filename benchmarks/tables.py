"""The page of benchmarks, made from the JSON files that they write.

python benchmarks/tables.py    # writes docs/benchmarks/index.md anew
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDER = HERE.parent / "docs" / "benchmarks"
PAGE = "index.md"

_HEAD = """\
# Benchmarks

Each table answers one question. Both sides run in one process or in turn, in another order each
round; numbers are medians, what follows a ± is half of the distance between the quartiles. `make
bench` runs all of them and writes this page, which says for each table where its numbers come from;
`make bench-small` sees in a few minutes whether they work, and writes to `build/benchmarks`.
The kernels that stand in for mmcv's have [a page of their own](mmcv-ops.md).
"""


def page_of(folder: Path, names: Sequence[str]) -> str:
    """The page, as Markdown.

    Args:
        folder: Of the JSON files.
        names: Of the benchmarks, in order. One without a file is said to be without numbers.
    """
    return "\n".join([_HEAD, *(_section(folder / f"{name}.json", name) for name in names)])


def _section(path: Path, name: str) -> str:
    about = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    title, _, rest = about.partition("\n\n")
    text = "\n\n".join(part for part in rest.split("\n\n") if not part.startswith("    "))
    lines = [f"## {title}", "", text.replace("``", "`"), ""]
    if not path.is_file():
        return "\n".join([*lines, f"No numbers yet: `python benchmarks/{name}.py`.", ""])
    found = json.loads(path.read_text())
    lines += [*_table(found["rows"]), "", f"`{found['command']}`: {_machine(found['machine'])}", ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    right = ["---" if isinstance(rows[0].get(key), str) else "---:" for key in keys]
    return [
        f"| {' | '.join(keys)} |",
        f"| {' | '.join(right)} |",
        *(f"| {' | '.join(_shown(row.get(key)) for key in keys)} |" for row in rows),
    ]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _machine(found: dict[str, Any]) -> str:
    gpu = found["gpu"] or "no GPU"
    load = f", load {found['load']} when it ended" if "load" in found else ""
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads, {gpu}{load}; "
        f"torch {found['torch']}, Python {found['python']}."
    )


if __name__ == "__main__":
    from all import BENCHMARKS

    (FOLDER / PAGE).write_text(page_of(FOLDER, BENCHMARKS))
