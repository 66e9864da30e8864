"""Verdicts on results whose answer is known, and against SciPy's own test."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lth_core.cli.main import main
from lth_core.errors import ConfigError
from lth_core.matching import MATCHES, UNDECIDED, WORSE, Match, match, universal
from lth_core.pruning import sparsity_after
from lth_core.results import Result, append
from scipy import stats

DENSE = (94.0, 95.0, 96.0)  # mean 95, standard deviation 1


def runs(
    values: Iterable[float], level: int = 0, task: str = "cifar10", **changes: Any
) -> list[Result]:
    """A run for each value, seeds 0, 1, ..."""
    fields: dict[str, Any] = {
        "task": task,
        "weights": "moco",
        "mask": "transferred" if level else "dense",
        "level": level,
        "sparsity": sparsity_after(level, 0.2),
        "metric": "accuracy",
        **changes,
    }
    return [Result(seed=seed, value=value, **fields) for seed, value in enumerate(values)]


def judged(*groups: list[Result], **settings: Any) -> Match:
    (found,) = match(itertools.chain(*groups), **settings)
    return found


# The papers' rule ---------------------------------------------------------------------------------


def test_the_rule_is_one_standard_deviation_of_dense() -> None:
    found = judged(
        runs(DENSE),
        runs((94.0, 94.0, 94.0), 3),  # exactly one below: matches
        runs((93.9, 94.0, 94.0), 5),
        runs((98.0, 98.0, 98.0), 8),  # better matches too
        runs((80.0, 99.0, 99.0), 9),
    )
    assert [level.rule for level in found.levels] == [True, False, True, False]
    assert found.by_rule == sparsity_after(8, 0.2)
    assert found.margin == 1
    assert found.notes == ()


def test_lower_is_better_where_it_is_a_loss() -> None:
    losses = {"metric": "val/loss"}
    found = judged(runs((1.0, 2.0, 3.0), **losses), runs((2.9, 2.9, 2.9), 1, **losses),
                   runs((3.1, 3.1, 3.1), 2, **losses))  # fmt: skip
    assert [level.rule for level in found.levels] == [True, False]
    assert found.levels[1].gain == pytest.approx(-1.1)
    said = {"metric": "loss", "higher_is_better": True}
    assert judged(runs((1.0, 2.0), **said), runs((9.0, 9.0), 1, **said)).levels[0].rule


# The test -----------------------------------------------------------------------------------------


@given(
    dense=st.lists(st.floats(0, 100), min_size=2, max_size=5),
    sparse=st.lists(st.floats(0, 100), min_size=2, max_size=5),
    margin=st.floats(0, 50),
)
def test_one_level_is_scipys_test(dense: list[float], sparse: list[float], margin: float) -> None:
    if len(set(dense)) < 2 or max(dense) - min(dense) < 1e-3:
        return
    level = judged(runs(dense), runs(sparse, 4), margin=margin).levels[0]
    shifted = [value - margin for value in dense]
    as_good = stats.ttest_ind(sparse, shifted, equal_var=False, alternative="greater").pvalue
    worse = stats.ttest_ind(sparse, dense, equal_var=False, alternative="less").pvalue
    if min(abs(as_good - 0.05), abs(worse - 0.05)) > 1e-6:
        expected = MATCHES if as_good < 0.05 else WORSE if worse < 0.05 else UNDECIDED
        assert level.verdict == expected


def test_holm_goes_over_the_levels_of_a_family() -> None:
    dense = [float(v) for v in range(10)]
    near = [v - 0.5 for v in dense]  # p about 0.03 for one level alone
    alone = judged(runs(dense), runs(near, 1), margin=3.5)
    many = judged(runs(dense), *(runs(near, level) for level in (1, 2, 3)), margin=3.5)
    assert [level.verdict for level in alone.levels] == [MATCHES]
    assert [level.verdict for level in many.levels] == [UNDECIDED] * 3
    clear = judged(runs(dense), runs([v + 9 for v in dense], 1), runs(near, 2), margin=3.5)
    assert [level.verdict for level in clear.levels] == [MATCHES, MATCHES]  # step by step


def test_power_is_the_share_of_simulated_studies_that_show_it() -> None:
    draw = random.Random(0)
    shown, powers = 0, []
    for _ in range(400):
        sample = [[draw.gauss(0, 1) for _ in range(8)] for _ in range(2)]
        level = judged(runs(sample[0]), runs(sample[1], 4), margin=1.5).levels[0]
        shown += level.verdict == MATCHES
        powers.append(level.power)
    true = stats.nct.sf(stats.t.isf(0.05, 14), 14, 1.5 / math.sqrt(2 / 8))
    assert shown / 400 == pytest.approx(true, abs=0.04)
    assert sum(p for p in powers if p is not None) / 400 == pytest.approx(true, abs=0.05)


def test_seeds_are_the_first_that_give_the_power() -> None:
    level = judged(runs(DENSE), runs(DENSE, 4), margin=1.0).levels[0]
    assert level.seeds is not None

    def power(count: int) -> float:
        freedom = 2 * count - 2
        return float(stats.nct.sf(stats.t.isf(0.05, freedom), freedom, 1 / math.sqrt(2 / count)))

    assert power(level.seeds) >= 0.8 > power(level.seeds - 1)
    assert judged(runs(DENSE), runs(DENSE, 4), margin=0.01).levels[0].seeds is None


def test_errors_are_as_rare_as_promised() -> None:
    """Levels that truly are a margin worse are rarely said to match, ten of them together."""
    draw = random.Random(0)
    wrong = 0
    for _ in range(300):
        groups = [runs([draw.gauss(-1, 1) for _ in range(5)], level) for level in range(1, 11)]
        found = judged(runs([draw.gauss(0, 1) for _ in range(5)]), *groups, margin=1.0)
        wrong += any(level.verdict == MATCHES for level in found.levels)
    assert wrong / 300 < 0.08


# What cannot be said ------------------------------------------------------------------------------


def test_one_dense_run_says_nothing() -> None:
    found = judged(runs((95.0,)), runs((95.0, 96.0), 1))
    assert found.levels[0].rule is None
    assert found.levels[0].verdict == UNDECIDED
    assert (found.by_rule, found.by_test, found.margin) == (None, None, None)
    assert "one dense run" in found.notes[0]


def test_one_sparse_run_is_judged_by_the_rule_alone() -> None:
    found = judged(runs(DENSE), runs((95.0,), 1), runs(DENSE, 2))
    assert [level.rule for level in found.levels] == [True, True]
    assert found.levels[0].power is None
    assert found.notes == ("level 1: one run, which no test can judge", "levels have 1 to 3 runs")


def test_no_dense_run_is_said() -> None:
    found = judged(runs(DENSE, 1), runs(DENSE, weights="simclr"))
    assert found.notes == ("no dense run from moco to compare with",)
    assert found.levels[0].rule is None


def test_a_diverged_run_does_not_match() -> None:
    found = judged(runs(DENSE), runs((99.0, 99.0, math.nan), 1), runs((99.0, 99.0, 99.0), 2))
    assert [(level.rule, level.lost) for level in found.levels] == [(False, 1), (True, 0)]
    assert found.levels[0].verdict == UNDECIDED
    assert found.notes == ("level 1: 1 of 3 runs came to no number",)
    dense = judged(runs((95.0, 96.0, math.nan)), runs(DENSE, 1))
    assert dense.notes == ("1 of 3 dense runs came to no number",)
    assert dense.dense.count == 2


def test_configs_that_differ_are_told() -> None:
    a, b = "a" * 64, "b" * 64
    same = judged(runs(DENSE, config=a), runs(DENSE, 1, config=a), runs(DENSE, 2))
    assert same.notes == ()  # what has no digest says nothing
    mixed = judged(runs(DENSE, config=a), runs(DENSE, 1, config=b), runs(DENSE, 2, config=a))
    (note,) = mixed.notes
    assert note.startswith("runs with 2 different configs are compared: ")
    assert note.endswith(": aaaaaaaa of dense, level 2; bbbbbbbb of level 1")


def test_runs_without_any_spread() -> None:
    found = judged(runs((5.0, 5.0)), runs((5.0, 5.0), 1), runs((4.0, 4.0), 2))
    assert [(level.rule, level.verdict) for level in found.levels] == [
        (True, MATCHES),
        (False, WORSE),
    ]


def test_families_are_apart() -> None:
    found = match(
        [
            *runs(DENSE),
            *runs(DENSE, weights="simclr"),
            *runs(DENSE, 1),
            *runs((1.0, 2.0, 3.0), 1, variant="random"),
            *runs(DENSE, 1, weights="simclr"),
            *runs(DENSE, task="svhn"),
        ]
    )
    names = [(m.family.weights, m.family.variant, m.levels[0].rule) for m in found]
    assert names == [("moco", "", True), ("moco", "random", False), ("simclr", "", True)]


@pytest.mark.parametrize("settings", [{"alpha": 0}, {"alpha": 0.5}, {"margin": -1},
                                      {"margin": math.nan}])  # fmt: skip
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="match: "):
        match(runs(DENSE), **settings)


def test_a_metric_goes_one_way() -> None:
    with pytest.raises(ConfigError, match="disagree whether higher accuracy"):
        match([*runs(DENSE), *runs(DENSE, 1, higher_is_better=False)])


# Universal tickets --------------------------------------------------------------------------------


def test_universal_tickets_match_on_every_task() -> None:
    bad = (1.0, 2.0, 3.0)
    results = [
        *runs(DENSE), *runs(DENSE, 1), *runs(DENSE, 2), *runs(DENSE, 4),
        *runs(DENSE, task="svhn"), *runs(DENSE, 1, "svhn"), *runs(bad, 2, "svhn"),
        *runs(DENSE, 3, "svhn"),
    ]  # fmt: skip
    (found,) = universal(match(results))
    assert found.tasks == ("cifar10", "svhn")
    assert found.by_rule == pytest.approx(0.2)  # 2 fails on one, 3 and 4 are missing on one
    assert found.by_test is None
    assert universal(match(runs(DENSE) + runs(DENSE, 1))) == []
    other = runs(DENSE, metric="AP") + runs(DENSE, 1, metric="AP")
    with pytest.raises(ConfigError, match="cifar10 has AP and accuracy"):
        universal(match(other + runs(DENSE) + runs(DENSE, 1)))


# The command --------------------------------------------------------------------------------------


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.jsonl"
    append(file, [*runs(DENSE), *runs(DENSE, 3), *runs((math.nan, 1.0, 2.0), 5)])
    assert main(["match", str(tmp_path), "--levels"]) == 0
    out = capsys.readouterr().out
    assert "48.80 %" in out
    assert "level 5: 1 of 3 runs came to no number" in out
    assert main(["match", str(file), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["matches"]
    assert found["by_rule"] == pytest.approx(0.488)
    assert found["levels"][1]["rule"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty holds no results: no results.jsonl"),
        (["full", "--metric", "AP"], "there is no metric 'AP'; there are accuracy"),
        (["full", "--tasks", "svhn"], "there is no task 'svhn'; there are cifar10"),
        (["full", "--alpha", "2"], "alpha is 2.0"),
        (["dense"], "there are dense runs alone"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    append("full/results.jsonl", [*runs(DENSE), *runs(DENSE, 3)])
    append("dense/results.jsonl", runs(DENSE))
    assert main(["match", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
