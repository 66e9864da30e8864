"""Double-win tickets on results whose answer is known, and against brute force."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lth_core.cli.main import main
from lth_core.errors import ConfigError
from lth_core.matching import (
    ADVERSARIAL_RA,
    ADVERSARIAL_SA,
    MATCHES,
    MISSING,
    STANDARD_SA,
    DoubleWin,
    all_double_wins,
    double_win,
    match,
    pairs_by_name,
)
from lth_core.pruning import sparsity_after
from lth_core.results import Result, append

from .test_matching import DENSE, runs

BAD = (1.0, 2.0, 3.0)
SA, RA = "accuracy/top1", "accuracy/top1/pgd-20"
CONDITIONS = {STANDARD_SA: ("std", SA), ADVERSARIAL_SA: ("adv", SA), ADVERSARIAL_RA: ("adv", RA)}


def results(
    *levels: tuple[int, Sequence[Iterable[float] | None]],
    dense: Sequence[Iterable[float] | None] = (DENSE, DENSE, DENSE),
    **changes: Any,
) -> list[Result]:
    """Runs of dense and of levels, in each of the three conditions; None for no runs."""
    return [
        run
        for level, conditions in ((0, dense), *levels)
        for (task, metric), values in zip(CONDITIONS.values(), conditions, strict=True)
        if values is not None
        for run in runs(values, level, task, metric=metric, **changes)
    ]


def at(level: int) -> Any:
    """The sparsity of a level, whichever way its runs' mean is rounded."""
    return pytest.approx(sparsity_after(level, 0.2))


def judged(found: Iterable[Result], **settings: Any) -> DoubleWin:
    (win,) = double_win(match(found, **settings), "std", "adv")
    return win


def test_a_level_wins_that_matches_in_all_three() -> None:
    win = judged(
        results(
            (1, (DENSE, DENSE, DENSE)),
            (3, (DENSE, DENSE, DENSE)),
            (5, (BAD, DENSE, DENSE)),
            (6, (DENSE, BAD, DENSE)),
            (8, (DENSE, DENSE, BAD)),
            (9, (None, DENSE, DENSE)),
        )
    )
    assert win.by_rule == at(3)
    assert [each.by_rule for each in win.levels] == [True, True, False, False, False, False]
    assert {name: each.by_rule for name, each in win.conditions.items()} == {
        STANDARD_SA: at(8),
        ADVERSARIAL_SA: at(9),
        ADVERSARIAL_RA: at(9),
    }
    fails = [[name for name, rule in each.rules.items() if not rule] for each in win.levels]
    assert fails == [[], [], [STANDARD_SA], [ADVERSARIAL_SA], [ADVERSARIAL_RA], [STANDARD_SA]]
    assert win.levels[5].verdicts[STANDARD_SA] == MISSING
    assert win.levels[5].rules[STANDARD_SA] is None
    assert (win.standard, win.adversarial, win.rule_known, win.test_known) == (
        "std", "adv", True, True,
    )  # fmt: skip
    assert win.notes == (f"level 9 is missing in {STANDARD_SA}",)


def test_by_the_test_a_level_wins_that_is_shown_to_match_in_all_three() -> None:
    many = [90 + 0.1 * k for k in range(8)]
    win = judged(
        results(
            (2, (many, many, many)),
            (4, (many, many, DENSE[:2])),  # too few to be shown
            (6, (many, many, BAD)),
            dense=(many, many, many),
        ),
        margin=1.0,
    )
    assert win.by_test == at(2)
    assert win.by_rule == at(4)
    assert win.levels[2].verdicts == {
        STANDARD_SA: MATCHES,
        ADVERSARIAL_SA: MATCHES,
        ADVERSARIAL_RA: "worse",
    }


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[Result], dict[tuple[str, int], list[float]], int]:
    """Runs of three conditions, some levels missing, some runs lost; their values, their sign."""
    better = draw(st.booleans())
    numbers = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 4.0, math.nan])
    values: dict[tuple[str, int], list[float]] = {}
    found: list[Result] = []
    for name, (task, metric) in CONDITIONS.items():
        levels = {0, *draw(st.sets(st.integers(1, 4), min_size=1))}
        for level in sorted(levels):
            kind = st.sampled_from([0.0, 1.0, 2.0]) if not level else numbers
            values[name, level] = draw(st.lists(kind, min_size=1, max_size=4))
            found += runs(values[name, level], level, task, metric=metric, higher_is_better=better)
    return found, values, 1 if better else -1


def rule_of(values: list[float], dense: list[float], sign: int) -> bool:
    """The papers' rule, in plain words."""
    if len(dense) < 2 or any(map(math.isnan, values)):
        return False
    gain = sign * (statistics.fmean(values) - statistics.fmean(dense))
    return gain >= -statistics.stdev(dense)


@given(study=studies(), margin=st.sampled_from([None, 6.0, 50.0]))
@settings(max_examples=80, deadline=None)
def test_it_is_brute_force_over_the_three_single_verdicts(
    study: tuple[list[Result], dict[tuple[str, int], list[float]], int], margin: float | None
) -> None:
    found, values, sign = study
    matches = match(found, margin=margin)
    (win,) = double_win(matches, "std", "adv")
    of = {(each.family.task, each.family.metric): each for each in matches}
    by_rule: list[float] = []
    by_test: list[float] = []
    for level in (1, 2, 3, 4):
        if all((name, level) in values for name in CONDITIONS):
            if all(rule_of(values[n, level], values[n, 0], sign) for n in CONDITIONS):
                by_rule.append(sparsity_after(level, 0.2))
            shown = (
                each.verdict == MATCHES
                for where in CONDITIONS.values()
                for each in of[where].levels
                if each.level == level
            )
            if all(shown):
                by_test.append(sparsity_after(level, 0.2))
    assert win.by_rule == pytest.approx(max(by_rule, default=None))
    assert win.by_test == pytest.approx(max(by_test, default=None))
    for name in CONDITIONS:
        assert win.conditions[name].by_rule == of[CONDITIONS[name]].by_rule
        assert win.conditions[name].by_test == of[CONDITIONS[name]].by_test


def test_false_wins_are_as_rare_as_promised() -> None:
    """RA is a margin worse at every level, and goes with SA, which is fine and well known."""
    draw = random.Random(0)
    wrong = 0
    for _ in range(150):
        noise = [[draw.gauss(0, 1) for _ in range(4)] for _ in range(4)]
        levels = [
            (k, ([9.0, 9.1], [9 + x / 100 for x in noise[k]], [x - 1 for x in noise[k]]))
            for k in (1, 2, 3)
        ]
        dense = ([0.0, 0.1], [x / 100 for x in noise[0]], noise[0])
        wrong += judged(results(*levels, dense=dense), margin=1.0).by_test is not None
    assert wrong / 150 < 0.1  # 0.05, and what 150 studies can tell


def test_standard_training_may_have_a_name_of_its_own_for_accuracy() -> None:
    found = [
        replace(r, metric="last" if r.task == "std" else f"best/{r.metric[-4:]}")
        for r in results((1, (DENSE, DENSE, DENSE)), (2, (BAD, DENSE, DENSE)))
    ]
    (win,) = double_win(match(found), "std", "adv", "best/d-20", "best/top1", "last")
    assert win.by_rule == at(1)
    assert win.conditions[STANDARD_SA].metric == "last"


def test_names_tell_what_belongs_together() -> None:
    found = results((1, (DENSE, DENSE, DENSE)))
    named = [replace(r, task={"std": "X", "adv": "X, adversarial"}[r.task]) for r in found]
    assert [(w.tasks, w.by_rule) for w in all_double_wins(match(named))] == [
        ("X + adversarial", at(1))
    ]
    assert all_double_wins(match(found)) == []
    pairs = [("std", "adv"), ("X", "X, adversarial"), ("std", "adv")]
    both = all_double_wins(match([*found, *named]), pairs)
    assert [each.standard for each in both] == ["std", "X"]
    attacked = [replace(r, task=r.task.replace("adversarial", "adversarial pgd-10")) for r in named]
    known = match([*named, *attacked, *runs(DENSE, 1, "X, adversarially", metric=SA)])
    assert pairs_by_name(known) == [("X", "X, adversarial"), ("X", "X, adversarial pgd-10")]
    for lacking in CONDITIONS.values():
        less = [r for r, old in zip(named, found, strict=True) if (old.task, old.metric) != lacking]
        assert all_double_wins(match(less)) == []


# What cannot be said ------------------------------------------------------------------------------


def test_one_seed_says_nothing() -> None:
    one = (95.0,)
    win = judged(results((1, (one, one, one)), dense=(one, one, one)))
    assert (win.by_rule, win.by_test, win.rule_known, win.test_known) == (None, None, False, False)
    (note,) = win.notes
    assert note.startswith(f"{STANDARD_SA}, {ADVERSARIAL_SA}, {ADVERSARIAL_RA}: one dense run: ")


def test_ties_match() -> None:
    edge = (94.0, 94.0, 94.0)  # exactly a deviation below
    win = judged(results((1, (edge, edge, edge)), (2, (edge, edge, (93.9, 94.0, 94.0)))))
    assert win.by_rule == at(1)
    same = (5.0, 5.0)
    flat = judged(results((1, (same, same, same)), dense=(same, same, same)))
    assert (flat.by_rule, flat.by_test) == (at(1), at(1))


def test_a_level_with_a_lost_run_does_not_win() -> None:
    lost = (99.0, 99.0, math.nan)
    win = judged(results((1, (DENSE, DENSE, DENSE)), (5, (DENSE, lost, lost))))
    assert win.by_rule == at(1)
    assert win.notes == (
        f"{ADVERSARIAL_SA}, {ADVERSARIAL_RA}: level 5: 1 of 3 runs came to no number",
    )


def test_without_dense_runs_of_one_task() -> None:
    win = judged(results((1, (DENSE, DENSE, DENSE)), dense=(DENSE, None, None)))
    assert (win.by_rule, win.rule_known) == (None, False)
    assert win.conditions[STANDARD_SA].by_rule == at(1)
    assert win.conditions[ADVERSARIAL_RA].dense.count == 0
    assert win.notes == (
        f"{ADVERSARIAL_SA}, {ADVERSARIAL_RA}: no dense run from moco to compare with",
    )


def test_a_control_of_one_task_alone_is_told() -> None:
    found = results((1, (DENSE, DENSE, DENSE)), (2, (DENSE, DENSE, DENSE)))
    control = runs(DENSE, 1, "std", metric=SA, variant="random")
    wins = double_win(match([*found, *control]), "std", "adv")
    assert [(win.variant, win.by_rule) for win in wins] == [
        ("", at(2)),
        ("random", None),
    ]
    assert wins[1].notes == (
        f"{ADVERSARIAL_SA}, {ADVERSARIAL_RA}: no such ticket has been trained",
    )


def test_lower_is_better_where_it_is_said() -> None:
    found = results(
        (1, ((95.5,) * 3, (20.0,) * 3, (95.9,) * 3)),
        (2, ((97.0,) * 3, (20.0,) * 3, (20.0,) * 3)),
        higher_is_better=False,
    )
    assert judged(found).by_rule == at(1)


def test_where_dense_is_not_robust_there_is_nothing_to_win() -> None:
    zero = (0.0, 0.0)
    win = judged(results((1, (DENSE, DENSE, zero)), dense=(DENSE, DENSE, zero)))
    assert win.by_rule == at(1)
    assert win.notes[-1] == (
        "adversarial RA: dense is not robust (0 ± 0 (2)), and to match that is no win"
    )
    little = (2.0, 2.1)
    assert (
        judged(results((1, (DENSE, DENSE, little)), dense=(DENSE, DENSE, little))).notes[1:] == ()
    )


def test_levels_of_different_ladders_are_told() -> None:
    found = results((1, (DENSE, DENSE, DENSE)))
    other = [replace(r, sparsity=0.4) if r.task == "adv" and r.level else r for r in found]
    (note,) = judged(other).notes
    assert note.startswith("level 1 is not the same everywhere: 20.00 % in standard SA, 40.00 % in")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("stt", "adv"), "no ticket has results of the task 'stt'; did you mean 'std'? there are"),
        (("adv", "std"), "tickets of 'std' have no metric 'accuracy/top1/pgd-20'; did you mean"),
        (("std", "std"), "both tasks are 'std'; they have to differ"),
        (("std", "adv", SA, SA), f"SA and RA are both {SA!r}; they have to differ"),
        (("std", "adv", "mAP/pgd-20"), "have no metric 'mAP'; there are 'accuracy/top1'"),
        (("std", "adv", RA, "top5"), "have no metric 'top5'; there are 'accuracy/top1'"),
        (("std", "adv", "robust"), "SA and RA are both 'robust'; they"),
    ],
)
def test_what_is_not_there(asked: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match="double-win: ") as problem:
        double_win(match(results((1, (DENSE, DENSE, DENSE)))), *asked)
    assert message in str(problem.value)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    found = results((3, (DENSE, DENSE, DENSE)), (10, (DENSE, DENSE, BAD)))
    less = results((3, (DENSE, BAD, BAD)), (10, (BAD, BAD, BAD)))
    tenth = [replace(r, task=f"{r.task} 10 %") for r in less]
    append(tmp_path / "results.jsonl", [*found, *tenth, *runs(DENSE, 1, "svhn")])
    return str(tmp_path / "results.jsonl")


def test_command(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["match", file, "--double-win", "std", "adv", "--double-win", "std 10 %", "adv 10 %"]
    assert main([*asked, "--levels"]) == 0
    out = capsys.readouterr().out
    assert "svhn" not in out
    rows = [line.split("│")[1:-1] for line in out.splitlines() if "papers' rule │" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["std + adv", "transferred from moco", "papers' rule", "89.26 %", "89.26 %", "48.80 %",
         "48.80 %"],
        ["std 10 % + adv 10 %", "transferred from moco", "papers' rule", "48.80 %", "none", "none",
         "none"],
    ]  # fmt: skip
    assert "matches / undecided" in out
    assert (
        "\nSA, standard accuracy, is accuracy/top1; RA, robust accuracy, accuracy/top1/pgd" in out
    )
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["matches"]) == 6
    assert [each["by_rule"] for each in found["double_win"]] == [pytest.approx(0.488), None]
    assert found["double_win"][0]["conditions"][ADVERSARIAL_RA]["by_rule"] == pytest.approx(0.488)
    assert [each["by_rule"] for each in found["double_win"][0]["levels"]] == [True, False]


def test_names_of_metrics(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["match", file, "--double-win", "std", "adv"]
    assert main([*asked, "--metric", RA, "--robust-metric", SA]) == 2
    assert "tickets of 'std' have no metric 'accuracy/top1/pgd-20'" in capsys.readouterr().err
    assert main([*asked, "--metric", SA, "--robust-metric", RA]) == 0
    capsys.readouterr()
    assert main([*asked, "--standard-metric", "best/top1"]) == 2
    assert "tickets of 'std' have no metric 'best/top1'" in capsys.readouterr().err
    assert main([*asked, "--robust-metric", "accuracy/top1/pgd-2O"]) == 2
    assert "did you mean 'accuracy/top1/pgd-20'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--double-win", "std", "avd"], "no ticket has results of the task 'avd'; did you mean"),
        (["--robust-metric", RA], "--robust-metric goes with --double-win STANDARD ADVERSARIAL"),
        (["--double-win", "std"], "argument --double-win: expected 2 arguments"),
        (["--double-win", "std", "adv", "--tasks", "std"], "not allowed with argument"),
        (["--tasks", "sdt"], "there is no task 'sdt'; did you mean std?"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str], message: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["match", file, *arguments])
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    assert code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
