"""Levels of a chain that end before their schedule does."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.errors import ConfigError
from lth_core.imp.finish import Check
from lth_core.openmmlab import LevelHook, LTHRunner, finishing
from lth_core.openmmlab.finishing import FinishHook
from lth_core.openmmlab.jobs.training import Chain, Measure
from lth_core.openmmlab.resuming import ResumeHook, last_whole
from lth_core.openmmlab.settings import parse_imp
from lth_core.pruning import prune
from lth_core.results import FILE
from mmengine.runner import ValLoop

from .noisy import noisy_config
from .toy import toy_config

RULE = {"type": "mask", "tolerance": 0.9, "checks": 2, "least": "10%"}
IMP = {"rounds": 2, "amount": 0.5, "rewind": "init", "finish": RULE}


def run(directory: Path, rule: dict[str, Any] | None = None, **changes: Any) -> Any:
    imp = {**IMP, "finish": rule or RULE}
    return LTHRunner.from_cfg(toy_config(directory, epochs=6, imp=imp, **changes)).train()


def receipts(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted(directory.glob("level_*/metrics.json"))]


def test_a_level_ends_early_but_not_the_first_and_the_last(tmp_path: Path) -> None:
    run(tmp_path)
    dense, early, last = receipts(tmp_path)
    assert "finished" not in dense
    assert "finished" not in last
    assert (early["finished"]["iteration"], early["finished"]["of"]) == (12, 24)
    assert "accuracy" in early["finished"]["metrics"]
    assert early["metrics"] == {}
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert {row["level"] for row in rows} == {0, 2}
    checkpoint = last_whole(tmp_path / "level_01")
    assert checkpoint is not None
    assert checkpoint.name == "epoch_3.pth"
    weights = torch.load(checkpoint, weights_only=False)["state_dict"]
    tickets = [lth.Ticket.load(tmp_path / f"level_{k:02d}/ticket.safetensors") for k in (1, 2)]
    backbone = {n.removeprefix("backbone."): w for n, w in weights.items()}
    assert prune(backbone, tickets[0].masks, 0.5).digest() == tickets[1].masks.digest()


@pytest.mark.parametrize("by_epoch", [True, False])
def test_an_iteration_is_where_it_ends(tmp_path: Path, by_epoch: bool) -> None:
    rule = RULE | {"every": "3it", "least": "0%"}
    changes: dict[str, Any] = {}
    if not by_epoch:
        changes["train_cfg"] = {"type": "IterBasedTrainLoop", "max_iters": 24, "val_interval": 24}
    run(tmp_path, rule, **changes)
    early = receipts(tmp_path)[1]["finished"]
    # Checks after 6 and 9 iterations count; an epoch of four is not cut short.
    assert early["iteration"] == (12 if by_epoch else 9)
    assert early["check"] == 9
    assert "accuracy" in early["metrics"]


def test_a_rule_that_is_never_met_changes_no_bit(tmp_path: Path) -> None:
    run(tmp_path / "rule", {"type": "reach", "tolerance": 0.0, "checks": 50})
    imp = {**IMP, "finish": None}
    LTHRunner.from_cfg(toy_config(tmp_path / "none", epochs=6, imp=imp)).train()
    names = ("digest", "trained", "metrics", "next")
    one, other = (
        [{n: r[n] for n in names} for r in receipts(tmp_path / d)] for d in ("rule", "none")
    )
    assert one == other
    assert "finish" not in json.loads((tmp_path / "none" / "imp.json").read_text())["imp"]


@pytest.mark.parametrize("when", [7, 12], ids=["between checks", "at its end"])
def test_a_broken_off_level_ends_where_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    rule = {"type": "reach", "tolerance": 0.95, "checks": 2, "least": "10%", "safety": 0.1}
    run(tmp_path / "whole", rule)

    def broken(self: ResumeHook, runner: Any) -> None:
        if "level_01" in str(runner.work_dir) and runner.iter >= when - 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumeHook, "after_train_epoch", broken)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", rule)
    run(tmp_path / "broken", rule)
    drop = ("config", "checksum")
    one, other = (
        [{k: v for k, v in r.items() if k not in drop} for r in receipts(tmp_path / d)]
        for d in ("whole", "broken")
    )
    assert one == other
    assert one[1]["finished"]["iteration"] < 24


@pytest.mark.long
@pytest.mark.parametrize("loop", ["epochs", "epochs, saved inside", "iterations"])
def test_a_chain_broken_off_at_any_moment_ends_alike(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = 0
    broken_at: int | None = None

    def counted(method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal moments
            moments += 1
            if moments == broken_at:
                raise KeyboardInterrupt
            return method(*args, **kwargs)

        return call

    monkeypatch.setattr(LevelHook, "after_train_iter", counted(LevelHook.after_train_iter))
    monkeypatch.setattr(ValLoop, "run_iter", counted(ValLoop.run_iter))

    def train(directory: Path) -> list[dict[str, Any]]:
        rule = {"type": "mask", "tolerance": 0.3, "checks": 2, "least": "10%", "every": "3it"}
        cfg = noisy_config(directory, loop, imp={**IMP, "amount": 0.3, "finish": rule})
        cfg.custom_hooks = [{"type": "EMAHook", "momentum": 0.1}]
        cfg.train_cfg |= {"max_epochs": 6} if cfg.train_cfg.by_epoch else {"max_iters": 24}
        LTHRunner.from_cfg(cfg).train()
        drop = ("config", "checksum")
        return [{k: v for k, v in r.items() if k not in drop} for r in receipts(directory)]

    whole = train(tmp_path / "whole")
    assert whole[1]["finished"]["iteration"] < 24
    for moment in range(2, moments, 5):
        moments, broken_at = 0, moment
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / f"{moment}")
        broken_at = None
        assert train(tmp_path / f"{moment}") == whole, moment


def test_another_rank_decides_as_rank_0_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def from_rank_0(values: list[Any], src: int) -> None:
        asked.append((list(values), src))
        values[0] = Check(0.0, 0.0)

    monkeypatch.setattr(finishing, "broadcast_object_list", from_rank_0)
    main = finishing.is_main_process
    # As rank 0 where level 0 leaves its file, as another where checks are made.
    monkeypatch.setattr(finishing, "is_main_process", lambda: main() and not _in_check())
    run(tmp_path, {"type": "mask", "tolerance": 0.0, "checks": 1, "least": "0%"})
    assert asked == [([None], 0)]
    assert receipts(tmp_path)[1]["finished"]["iteration"] == 8


def _in_check() -> bool:
    return any(frame.function == "_check" for frame in inspect.stack(0))


def test_a_job_of_a_study_may_have_levels_that_ended_early(tmp_path: Path) -> None:
    job = Chain(
        stage="imp",
        path=("toy",),
        title="toy",
        config="toy.py",
        options={"imp": IMP},
        files={},
        outputs=(),
        seconds=1.0,
        measure=Measure("accuracy", "accuracy"),
    )
    rows = job.do(toy_config(tmp_path / "asked", epochs=6), {}, tmp_path / "job").levels
    assert [sorted(row.metrics) for row in rows] == [["accuracy"], [], ["accuracy"]]


def test_what_reach_compares_is_what_the_schedule_still_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    check = FinishHook._check

    def spy(self: FinishHook, before: Any, now: Any, spent: float) -> Any:
        seen.append(((self._total - self._spent) / spent, len(now)))
        return check(self, before, now, spent)

    monkeypatch.setattr(FinishHook, "_check", spy)
    run(tmp_path, {"type": "reach", "tolerance": 0.0, "checks": 50})
    kept = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors").masks.kept
    # A constant rate over six epochs: after 2, 3, ... of them 4, 3, ... are left.
    assert [size for _, size in seen] == [kept] * 5
    assert [ratio for ratio, _ in seen] == pytest.approx([4, 3, 2, 1, 0], abs=1e-6)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"imp\.finish has no field 'tolerence'"):
        parse_imp({**IMP, "finish": {"type": "mask", "tolerence": 1}})
    with pytest.raises(ConfigError, match=r"imp\.finish needs the field 'type'"):
        parse_imp({**IMP, "finish": {}})
