"""Files of results: what is written is read, by many at once, after crashes, by pandas too."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lth_core.errors import RunError
from lth_core.results import Result, append, read


def result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "task": "svhn",
        "weights": "moco",
        "mask": "transferred",
        "level": 3,
        "sparsity": 0.488,
        "seed": 0,
        "metric": "accuracy",
        "value": 97.5,
    }
    return Result(**fields | changes)


def bad(**changes: Any) -> str:
    """A line with something wrong in it."""
    return json.dumps(dataclasses.asdict(result()) | changes)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.lists(
        st.builds(
            Result,
            task=texts,
            weights=texts,
            mask=texts.filter(lambda text: text != "dense"),
            level=st.integers(1, 99),
            sparsity=st.floats(0.01, 1),
            seed=st.integers(0, 2**63),
            metric=texts,
            value=st.floats(allow_nan=False),
            variant=st.text(max_size=9).filter(lambda text: max(text, default="a") < "\ud800"),
            higher_is_better=st.sampled_from([None, True, False]),
            seconds=st.none() | st.floats(0, 1e9),
        ),
        min_size=1,
        unique_by=lambda r: (r.task, r.weights, r.mask, r.variant, r.level, r.sparsity, r.seed,
                             r.metric),
    )
)  # fmt: skip
def test_what_is_written_is_read(tmp_path_factory: Any, found: list[Result]) -> None:
    file = tmp_path_factory.mktemp("results") / "results.jsonl"
    append(file, found[:1])
    append(file, found[1:])
    assert read([file]) == found


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    append(tmp_path / "results.jsonl", [result(value=math.nan)])
    assert math.isnan(read([tmp_path])[0].value)


def test_the_last_of_equals_counts(tmp_path: Path) -> None:
    append(tmp_path / "results.jsonl", [result(value=1.0), result(seed=1), result(value=2.0)])
    assert [(r.seed, r.value) for r in read([tmp_path])] == [(0, 2.0), (1, 97.5)]


def test_tables_with_the_same_columns_are_read(tmp_path: Path) -> None:
    rows = [result(), result(mask="dense", level=0, sparsity=0.0, seconds=1.5)]
    with open(tmp_path / "numbers.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Result)])
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, rows))
    (tmp_path / "other.csv").write_text("level,loss\n0,1.5\n")  # a chain's own
    assert read([tmp_path]) == rows


def _write(path: str, seed: int) -> None:
    for level in range(1, 26):
        append(path, [result(seed=seed, level=level, task="t" * 5000)])


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    file = str(tmp_path / "results.jsonl")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(file, seed)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = {(r.seed, r.level) for r in read([file])}
    assert found == {(seed, level) for seed in range(6) for level in range(1, 26)}


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_passed_over(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "results.jsonl"
    append(file, [result(), result(seed=1)])
    file.write_bytes(file.read_bytes()[:-cut])
    append(file, [result(seed=2)])
    seeds = [r.seed for r in read([file])]
    assert seeds == ([0, 1, 2] if cut == 1 else [0, 2])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("what", r"line 2 is not JSON: 'what'"),
        ("[1, 2]", "line 2 is no result"),
        ('{"task": "svhn"}', "line 2 lacks weights"),
        (bad(level="x"), "line 2 is malformed: invalid literal"),
        (bad(sparsity=3), "line 2 is malformed: level 3 and sparsity 3"),
        (bad(mask="dense"), "line 2 is malformed: a mask 'dense'"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "results.jsonl"
    append(file, [result()])
    with open(file, "a") as out:
        out.write(line + "\n")
    with pytest.raises(RunError, match=message):
        read([file])


def test_pandas_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    append(file, [result(), result(seed=1, value=math.nan)])
    table = pandas.read_json(file, lines=True)
    assert list(table.columns) == [field.name for field in dataclasses.fields(Result)]
    assert table.value.isna().tolist() == [False, True]


def test_no_place_to_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(RunError, match="cannot be written: Is a directory"):
        append(tmp_path / "results.jsonl", [result()])
