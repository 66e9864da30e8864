"""What trainings came to: one line for each, in files that many processes may add to.

A file of results is JSON lines, read by pandas with ``read_json(path, lines=True)``. Lines are only
ever added, each with one write under a lock; a line that a crash has cut short is passed over.
Tables as the studies write them (CSV with the same columns) are read too.
"""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lth_core.errors import RunError

FILE = "results.jsonl"
"""Name of a file of results in a directory."""

AUDIT = "robustness_audit.json"
"""Name of a file beside it: whether the robustness of a model that was tested is real."""

DENSE = "dense"
"""``mask`` of a training without one."""

NOTHING = "no metric"
"""``metric`` of a training whose last validation came to no number, by whatever name."""

_LOSSES = ("loss", "error", "err", "perplexity")


@dataclass(frozen=True)
class Result:
    """One training's number.

    Args:
        task: What was trained.
        weights: What it started from: a pre-training, or random weights.
        mask: Where its mask comes from; ``dense`` if there is none.
        level: Prunes behind the mask, 0 for dense.
        sparsity: Pruned fraction of the weights in scope, in [0, 1].
        seed: Of the run.
        metric: What ``value`` is.
        value: The number; NaN if training has diverged.
        variant: What the mask was made into (complement, random ...), empty if nothing.
        higher_is_better: Which way ``metric`` goes; by its name if None.
        seconds: Wall time of the training.
        config: Digest of its config.
        run: Its directory.

    Raises:
        RunError: If a field is malformed.
    """

    task: str
    weights: str
    mask: str
    level: int
    sparsity: float
    seed: int
    metric: str
    value: float
    variant: str = ""
    higher_is_better: bool | None = None
    seconds: float | None = None
    config: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        if self.level < 0 or not 0 <= self.sparsity <= 1:
            raise RunError(f"level {self.level} and sparsity {self.sparsity} do not go together")
        if self.dense != (self.sparsity == 0):
            raise RunError(
                f"a mask {self.mask!r} of level {self.level} with sparsity {self.sparsity}: "
                "dense runs have none, and others have some"
            )

    @property
    def dense(self) -> bool:
        """Whether nothing is pruned."""
        return self.mask == DENSE or self.level == 0

    @property
    def sign(self) -> int:
        """1 if higher values are better, -1 if lower ones are."""
        if self.higher_is_better is None:
            return -1 if is_loss(self.metric) else 1
        return 1 if self.higher_is_better else -1


def is_loss(metric: str) -> bool:
    """Whether smaller values of a metric are better, by its name."""
    name = metric.lower().rpartition("/")[2]
    return any(word in name for word in _LOSSES)


_FIELDS = {field.name: field for field in dataclasses.fields(Result)}
_REQUIRED = [name for name, field in _FIELDS.items() if field.default is dataclasses.MISSING]


def append(path: str | Path, results: Iterable[Result]) -> None:
    """Adds lines to a file of results, which may not be there yet.

    Raises:
        RunError: If it cannot be written.
    """
    text = lines_of(results)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            # A line that a crash has cut short must not swallow the first of these. Looked for
            # through the same descriptor: to close another one of this file gives up the lock.
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                text = "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise RunError(f"{path} cannot be written: {problem.strerror}") from None


def read(places: Sequence[str | Path], required: bool = True) -> list[Result]:
    """Reads files of results, and all that lie in directories.

    In a directory, a table above files of results is passed over: it sums up the same trainings.

    Args:
        places: Files (JSON lines, or CSV with the same columns) and directories.
        required: Whether each has to hold results.

    Returns:
        Their lines, in order; of lines that agree in all but ``value`` and what follows, the last.
        A training that came to :data:`NOTHING` has a line of NaN for each metric of its task.

    Raises:
        RunError: If a place is missing, or holds none where they are required, or a line is
            malformed.
    """
    found: dict[tuple[Any, ...], Result] = {}
    for place in map(Path, places):
        rows = 0
        for file in _files(place):
            for result in _read(file):
                rows += 1
                found[_identity(result)] = result
        if required and not rows:
            raise RunError(
                f"{place} holds no results: no {FILE}, and no CSV with the columns "
                f"{', '.join(_REQUIRED)}"
            )
    return list(_under_names(found))


def read_file(path: str | Path, damaged: Callable[[RunError], None] | None = None) -> list[Result]:
    """All lines of one file of results, in order; none if it is not there.

    Args:
        path: The file.
        damaged: Called with what is wrong with a line that is no result, which is then passed over.

    Raises:
        RunError: If it cannot be read or, without ``damaged``, a line is malformed.
    """
    return list(_read(Path(path), damaged)) if Path(path).exists() else []


def lines_of(results: Iterable[Result]) -> str:
    """Results as a file of them holds them."""
    return "".join(json.dumps(dataclasses.asdict(result)) + "\n" for result in results)


def _under_names(found: Mapping[tuple[Any, ...], Result]) -> Iterator[Result]:
    """Puts NaN in the place of what trainings have not come to."""
    metrics: dict[str, dict[str, bool | None]] = {}
    for result in found.values():
        if result.metric != NOTHING:
            metrics.setdefault(result.task, {})[result.metric] = result.higher_is_better
    for result in found.values():
        if result.metric != NOTHING or result.task not in metrics:
            yield result
            continue
        for metric, better in metrics[result.task].items():
            named = replace(result, metric=metric, higher_is_better=better)
            if _identity(named) not in found:
                yield named


def _identity(result: Result) -> tuple[Any, ...]:
    mask = DENSE if result.dense else result.mask
    level = (0, 0.0) if result.dense else (result.level, result.sparsity)
    return result.task, result.weights, mask, result.variant, level, result.seed, result.metric


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        files = sorted(place.rglob(FILE))
        yield from files
        above = {folder for file in files for folder in file.parents}
        for table in sorted(place.rglob("*.csv")):
            if table.parent not in above and _is_table(table):
                yield table
    elif place.is_file():
        yield place
    else:
        raise RunError(f"{place} does not exist (looked for {place.absolute()})")


def _is_table(path: Path) -> bool:
    try:
        with open(path, newline="") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return set(_REQUIRED) <= set(columns)


def _read(path: Path, damaged: Callable[[RunError], None] | None = None) -> Iterator[Result]:
    try:
        # A byte that is no text spoils its line alone.
        text = path.read_text(errors="strict" if damaged is None else "replace")
    except (OSError, UnicodeDecodeError) as problem:
        raise RunError(f"{path} cannot be read: {problem}") from None
    table = path.suffix == ".csv"
    rows: Iterable[Any] = csv.DictReader(text.splitlines()) if table else text.split("\n")
    for number, row in enumerate(rows, start=2 if table else 1):
        where = f"{path}, line {number}"
        try:
            found = row if table else _parsed(row, where)
            if found is not None:
                yield _result(found, where)
        except RunError as problem:
            if damaged is None:
                raise
            damaged(problem)


def _parsed(line: str, where: str) -> Any:
    """What a line of JSON holds; None if it is empty or a crash has cut it short."""
    try:
        return json.loads(line) if line.strip() else None
    except ValueError:
        # Of a line that was cut short the rest is missing; all else is damage.
        if not line.startswith("{") or line.endswith("}"):
            raise RunError(f"{where} is not JSON: {line[:60]!r}") from None
        return None


def _result(row: Any, where: str) -> Result:
    if not isinstance(row, Mapping):
        raise RunError(f"{where} is no result: {str(row)[:60]!r}")
    missing = [name for name in _REQUIRED if row.get(name) in (None, "")]
    if missing:
        raise RunError(f"{where} lacks {missing[0]}; results have {', '.join(_REQUIRED)}")
    values: dict[str, Any] = {k: v for k, v in row.items() if k in _FIELDS and v not in (None, "")}
    try:
        for name, kind in (("level", int), ("seed", int), ("sparsity", float), ("value", float),
                           ("seconds", float)):  # fmt: skip
            if name in values:
                values[name] = kind(values[name])
        better = values.get("higher_is_better")
        if isinstance(better, str):
            values["higher_is_better"] = {"true": True, "false": False}[better.lower()]
        for name in ("task", "weights", "mask", "metric", "variant", "config", "run"):
            if name in values:
                values[name] = str(values[name])
        return Result(**values)
    except (ValueError, TypeError, KeyError, RunError) as problem:
        raise RunError(f"{where} is malformed: {problem}") from None
