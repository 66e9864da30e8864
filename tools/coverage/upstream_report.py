"""The report on upstream's configs: a table for people and one for machines."""

from __future__ import annotations

import csv
import importlib.metadata
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import jinja2
from lth_core.files import write_atomic
from upstream_probe import AMOUNT, HALF_FROM, KINDS, MASK_ALONE_FROM, Row, configs_of, version
from upstream_reasons import GROUPS, PIECE, WORKS

READ_ME, TABLE = "coverage.md", "coverage.csv"
OPTIONAL = (
    "detectron2",
    "fairscale",
    "lap",
    "motmetrics",
    "nltk",
    "scikit-image",
    "timm",
    "transformers",
)
"""Packages that upstream's configs may want besides the libraries' own requirements."""

_UNTOLD = ("seconds",)  # another run's would differ

_Key = TypeVar("_Key", bound=Hashable)


def write(rows: Sequence[Row], out: Path, command: str) -> tuple[Path, Path]:
    """Writes both tables.

    Args:
        rows: One of each config.
        out: Folder.
        command: How the script was called.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = out / READ_ME, out / TABLE
    write_atomic(files[0], read_me(rows, command))
    write_atomic(files[1], table(rows))
    return files


def table(rows: Sequence[Row]) -> str:
    """All that is known of each config, as CSV."""
    names = [each.name for each in fields(Row) if each.name not in _UNTOLD]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def read_me(rows: Sequence[Row], command: str) -> str:
    """The report, as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    libraries = _grouped(rows, _library)
    present = [group for group in GROUPS if any(row.status == group for row in rows)]
    failed = [row for row in rows if row.status not in (WORKS, PIECE)]
    return environment.get_template("upstream.md.j2").render(
        command=command,
        amount=100 * AMOUNT,
        kinds=KINDS,
        half=HALF_FROM // 1_000_000,
        mask_alone=MASK_ALONE_FROM // 1_000_000,
        total=len(rows),
        pieces=sum(configs_of(library)[1] for library in libraries),
        versions=[version(library) for library in libraries],
        optional=_installed(),
        groups={group: GROUPS[group] for group in present},
        works=WORKS,
        counts={name: Counter(row.status for row in found) for name, found in libraries.items()},
        sizes={name: len(found) for name, found in libraries.items()},
        reasons=[
            (group, reason, found)
            for (group, reason), found in sorted(
                _grouped(failed, lambda row: (row.status, row.reason)).items(),
                key=lambda item: (present.index(item[0][0]), -len(item[1])),
            )
        ],
        families=[
            (library, family, found, _told(found))
            for library, of_library in libraries.items()
            for family, found in _grouped(of_library, _family).items()
        ],
        elsewhere=_grouped(
            (row for row in rows if row.status == WORKS and row.prefix != "backbone."),
            lambda row: row.prefix,
        ),
        twins=_grouped((row for row in rows if row.twins), lambda row: row.twins),
        not_fresh=[row for row in rows if row.status == WORKS and row.note],
    )


def _told(rows: Sequence[Row]) -> str:
    """What became of a family's configs that do not work, in one cell."""
    counts = Counter((row.status, row.reason) for row in rows if row.status != WORKS)
    return ", ".join(
        f"{count} {status}" + (f" ({reason})" if reason else "")
        for (status, reason), count in counts.items()
    )


def _installed() -> list[str]:
    found = []
    for name in OPTIONAL:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _library(row: Row) -> str:
    return row.config.partition("::")[0]


def _family(row: Row) -> str:
    return row.config.partition("::")[2].partition("/")[0]


def _grouped(rows: Iterable[Row], key: Callable[[Row], _Key]) -> dict[_Key, list[Row]]:
    groups: defaultdict[_Key, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)
