"""Files of results: what is written is read, by many at once, after crashes, by pandas too."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lth_core.errors import RunError
from lth_core.results import NOTHING, Result, append, read


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


def test_what_came_to_nothing_is_missing_from_each_metric_of_its_task(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    lost = result(metric=NOTHING, value=math.nan, seed=2)
    append(file, [lost, result(task="voc", metric=NOTHING, value=math.nan)])
    assert [r.metric for r in read([file])] == [NOTHING, NOTHING]
    append(file, [result(), result(metric="delay", higher_is_better=False)])
    found = {(r.task, r.seed, r.metric, r.sign): r.value for r in read([file])}
    assert sorted(found) == [
        ("svhn", 0, "accuracy", 1), ("svhn", 0, "delay", -1),
        ("svhn", 2, "accuracy", 1), ("svhn", 2, "delay", -1), ("voc", 0, NOTHING, 1),
    ]  # fmt: skip
    assert math.isnan(found["svhn", 2, "accuracy", 1])
    assert math.isnan(found["svhn", 2, "delay", -1])
    append(file, [result(seed=2, value=1.0)])  # done again
    again = {(r.seed, r.metric): r.value for r in read([file]) if r.task == "svhn"}
    assert again[2, "accuracy"] == 1.0
    assert len(again) == 4


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


def _in_a_process(target: Any, *args: Any) -> int | None:
    """Runs it in a process of its own; returns its exit code, negative if a signal ended it."""
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def _killed_at(call: str, path: str) -> None:
    setattr(os, call, lambda *args: os.kill(os.getpid(), signal.SIGKILL))
    append(path, [result(seed=1)])


@pytest.mark.parametrize(("call", "seeds"), [("pread", [0, 2]), ("fsync", [0, 1, 2])])
def test_a_writer_killed_with_the_lock_keeps_nobody_out(
    call: str, seeds: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    append(file, [result()])
    assert _in_a_process(_killed_at, call, str(file)) == -signal.SIGKILL
    assert _in_a_process(append, str(file), [result(seed=2)]) == 0
    assert [r.seed for r in read([file])] == seeds


def _write_until_killed(path: str, seed: int) -> None:
    for level in itertools.count(1):
        append(path, [result(seed=seed, level=level, task="t" * 3000)])


def test_killed_writers_spoil_nothing(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    context = multiprocessing.get_context("fork")
    doomed = [context.Process(target=_write_until_killed, args=(str(file), s)) for s in range(4)]
    for process in doomed:
        process.start()
    for process, size in zip(doomed, (40_000, 90_000, 130_000, 180_000), strict=True):
        while not file.exists() or file.stat().st_size < size:
            assert any(each.is_alive() for each in doomed)
            time.sleep(0.001)
        process.kill()
        process.join()
    append(file, [result(seed=9)])
    found = read([file])
    assert found[-1].seed == 9
    for seed in range(4):  # whatever a writer has written before its end is there
        levels = [r.level for r in found if r.seed == seed]
        assert levels == list(range(1, len(levels) + 1))
        assert levels


def _where_room_ends(path: str, room: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    with pytest.raises(RunError, match=r"results\.jsonl cannot be written: File too large$"):
        append(path, [result(seed=1), result(seed=2)])


@pytest.mark.parametrize("more", [0, 1, 100, 300])
def test_a_full_disk_is_one_line_and_costs_no_other_line(more: int, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    append(file, [result()])
    line = file.read_bytes()
    assert _in_a_process(_where_room_ends, str(file), len(line) + more) == 0
    assert file.read_bytes().startswith(line)
    append(file, [result(seed=3)])
    # Each line is as long as the first, so of the two a whole one fits into the last room.
    assert [r.seed for r in read([file])] == ([0, 1, 3] if more >= len(line) else [0, 3])


def _as_nobody(path: Path) -> None:
    os.chdir(path)
    if os.geteuid() == 0:
        os.setuid(65534)
    with pytest.raises(RunError, match=r"results\.jsonl cannot be written: Permission denied$"):
        append("results.jsonl", [result()])


def test_a_directory_that_is_read_only_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        assert _in_a_process(_as_nobody, tmp_path) == 0
    finally:
        tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())


def test_a_table_above_files_of_results_is_no_second_account(tmp_path: Path) -> None:
    append(tmp_path / "study" / "seed_0" / "results.jsonl", [result()])
    header, row = (",".join(map(str, each)) for each in zip(*_columns(metric="acc"), strict=True))
    for folder in ("study", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "results.csv").write_text(f"{header}\n{row}\n")
    assert [r.metric for r in read([tmp_path])] == ["accuracy", "acc"]
    assert [r.metric for r in read([tmp_path / "study"])] == ["accuracy"]
    assert [r.metric for r in read([tmp_path / "study" / "results.csv"])] == ["acc"]


def _columns(**changes: Any) -> list[tuple[str, Any]]:
    found = dataclasses.asdict(result(**changes))
    return [(name, value) for name, value in found.items() if value not in (None, "")]
