"""``lth study``: what it is asked for, what it trains, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core import results
from lth_core.cli import main as lth_command
from lth_core.errors import ConfigError, LTHError, RunError, TicketError
from lth_core.openmmlab.jobs import pool
from lth_core.openmmlab.study import SENSITIVITY, Settings, choose_controls, run_study
from lth_core.openmmlab.study.controls import parse_controls
from lth_core.openmmlab.study.entries import find_tickets
from lth_core.report.material import collect
from lth_core.variants import random

from .openmmlab_runs import FAMILIES, TICKET, check_exact, prepare, small
from .study_config import timeless


def settings(**changes: Any) -> Settings:
    given = {
        "config": "tiny.py",
        "tickets": ("tickets/3.safetensors",),
        "weights": "weights.pth",
        "seeds": (4,),
    }
    return Settings(**{**given, **changes})


# What is asked for


def test_controls_are_variants_with_their_settings() -> None:
    words = [*SENSITIVITY, "reinit", "shuffle:unit=kernel", "perturb:keep_density=true"]
    found = parse_controls(words)
    assert [each.name for each in found] == [
        "dense", "complement", "random", "random match=layer", "perturb fraction=0.05", "perturb",
        "perturb fraction=0.2", "reinit", "shuffle unit=kernel", "perturb keep_density=True",
    ]  # fmt: skip
    assert found[1].options(7) == {"ticket.variant": {"type": "complement"}}
    layer = {"type": "random", "seed": 7, "match": "layer"}
    assert found[3].options(7) == {"ticket.variant": layer}
    assert found[7].options(7) == {"ticket.weights": "reinit", "ticket.seed": 7}
    (own,) = parse_controls(["random:seed=3"])
    assert own.options(7)["ticket.variant"]["seed"] == 3
    assert parse_controls(["none"]) == ()
    assert choose_controls(None, False) == ("dense", "random")
    assert choose_controls(["random", "even"], True) == (*SENSITIVITY, "even")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnadom"], "unknown control 'rnadom'; there are dense, reinit and complement, even"),
        (["none", "dense"], "unknown control 'none'"),
        (["perturb", "perturb:fraction=0.1"], "there twice"),
        (["random", "random"], "there twice"),
        (["random:macth=layer"], "did you mean 'match'"),
        (["random:match=all"], "use 'global' or 'layer'"),
        (["perturb:fraction=much"], "use a number between 0 and 1"),
        (["perturb:keep_density=maybe"], "use True or False"),
        (["perturb:fraction=0.1,fraction=0.2"], "a setting twice"),
        (["dense:seed=1"], "has no settings"),
    ],
)
def test_wrong_controls_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_controls(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_wrong_seeds_are_refused(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="seeds are"):
        Settings("c.py", ("t",), seeds=seeds)


def chain(directory: Path, amounts: Mapping[int, float]) -> Path:
    """A directory of tickets as a chain leaves them."""
    for level, amount in amounts.items():
        masks = lth.MaskSet({"layer1.0.conv1.weight": torch.ones(4, 4, 3, 3, dtype=torch.bool)})
        generator = torch.Generator().manual_seed(hash(directory.name) % 1000)
        kept = lth.MaskSet({n: torch.rand(m.shape, generator=generator) >= amount
                            for n, m in masks.items()})  # fmt: skip
        path = directory / f"level_{level:02d}" / "ticket.safetensors"
        path.parent.mkdir(parents=True)
        lth.Ticket(kept, None, {"level": level, "run": "toy"}).save(path)
    return directory


def test_a_chain_stands_for_its_levels(tmp_path: Path) -> None:
    first = chain(tmp_path / "a" / "toy", {0: 0.0, 1: 0.2, 2: 0.4, 3: 0.6})
    assert [each.level for each in find_tickets([str(first)])] == [1, 2, 3]
    found = find_tickets([str(first)], [1, 3])
    assert [each.name for each in found] == ["imp_toy_level_01", "imp_toy_level_03"]
    with pytest.raises(ConfigError, match="no ticket of level 4; it has 0 to 3"):
        find_tickets([str(first)], [1, 4])
    with pytest.raises(ConfigError, match="level 0 is dense"):
        find_tickets([str(first)], [0])
    with pytest.raises(ConfigError, match="holds no tickets"):
        find_tickets([str(tmp_path)])
    with pytest.raises(ConfigError, match="--tickets names files alone"):
        find_tickets([str(found[0].path)], [1])
    second = chain(tmp_path / "b" / "toy", {1: 0.3})
    names = [each.mask for each in find_tickets([str(first), str(second)], [1])]
    assert names == ["imp toy, a/toy", "imp toy, b/toy"]


def test_a_ticket_counts_once(tmp_path: Path) -> None:
    first = chain(tmp_path / "toy", {0: 0.0, 1: 0.2})
    file = first / "level_01" / "ticket.safetensors"
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="have the same mask"):
        find_tickets([str(file), str(copy)])
    with pytest.raises(ConfigError, match="named twice"):
        find_tickets([str(first), str(file)])
    with pytest.raises(TicketError, match="prunes nothing"):
        find_tickets([str(first / "level_00" / "ticket.safetensors")])
    with pytest.raises(TicketError, match=r"missing\.safetensors"):
        find_tickets([str(tmp_path / "missing.safetensors")])


# What does not fit is said before anything is trained or written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "the config loads no weights.*--weights"),
        ({"weights": "nowhere.pth"}, r"nowhere\.pth does not exist"),
        ({"weights": "tickets/3.safetensors"}, "are pruned: 50.0 %"),
        ({"options": {"model.backbone.depth": 34}}, "tickets/3.safetensors: ticket does not"),
        ({"options": {"model.backbone.base_channels": 8}}, "tickets/3.safetensors: ticket does"),
        ({"options": {"model.head.type": "NoHead"}}, "names a type 'NoHead'"),
        ({"options": {"model.head.in_channels": "x"}}, "model cannot be built: .*got str"),
        ({"options": {"val_evaluator": None}}, "the config measures nothing"),
        ({"options": {"imp": {"rounds": 2}}}, "has imp, which finds tickets"),
        ({"controls": ("dense", "perturb:fraction=1.0")}, None),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], message: str | None, place: Path) -> None:
    if message is None:
        assert run_study(settings(**changes), "work", dry_run=True)["jobs"]
        return
    with pytest.raises(LTHError, match=message) as caught:
        run_study(settings(**changes), "work")
    assert "\n" not in str(caught.value)
    assert not Path("work").exists()


def test_a_dry_run_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "study tiny.py --tickets tickets/3.safetensors tickets/5.safetensors"
    command += " --weights weights.pth --seeds 0 1 --sensitivity --work-dir work --dry-run"
    assert lth_command(command.split()) == 0
    shown = capsys.readouterr().out
    assert "30 trainings" in shown  # (dense + 2 * (ticket + 6 controls)) * 2 seeds
    assert "imp toy level 3, perturb fraction=0.2" in shown
    assert not Path("work").exists()


def test_each_process_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert pool.visible_devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    assert pool.visible_devices() == ["5", "7"]
    assert pool.default_workers() == 2
    with pool._inherited("7"):
        assert pool.os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert pool.os.environ["CUDA_VISIBLE_DEVICES"] == "5, 7"


# What it trains


def test_killed_in_the_middle(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "study tiny.py --tickets tickets/3.safetensors --weights weights.pth --seeds 4"
    command = f"{command} --jobs 1 --work-dir"
    monkeypatch.setenv("STUDY_DIES", "level_03_random")
    assert lth_command([*command.split(), "killed"]) == 2
    assert "its process died (SIGKILL)" in capsys.readouterr().err
    assert lth_command([*command.split(), "killed", "--json"]) == 0
    out = capsys.readouterr()
    facts = json.loads(out.out)
    assert [each["finished"] for each in facts["jobs"].values()] == [True] * 3
    assert "2 finished before" in out.err  # dense and the ticket
    log = (place / "killed/seed_4/imp_toy_level_03_random/log.txt").read_text()
    assert "resumed epoch: 1" in log
    monkeypatch.delenv("STUDY_DIES")
    found = run_study(settings(), "whole", jobs=1)
    rows = results.read(["whole"])
    assert timeless(rows) == timeless(results.read(["killed"]))
    assert timeless(rows) == timeless(found["results"])
    check_rows(rows)
    check_starts(Path("whole/seed_4"))
    check_tickets_are_kept()
    check_by_hand(rows)
    check_other_settings_are_refused()


def check_rows(rows: list[results.Result]) -> None:
    assert {(r.mask, r.variant, r.level) for r in rows} == {
        ("dense", "", 0), ("imp toy", "", 3), ("imp toy", "random", 3),
    }  # fmt: skip
    for row in rows:
        assert (row.task, row.weights, row.seed) == ("Digits ResNet-18", "weights", 4)
        assert row.metric == "accuracy/top1"
        assert row.sparsity == pytest.approx(0.0 if row.dense else 0.5, abs=1e-4)


def check_starts(directory: Path) -> None:
    """Head, norms and the first batch are the same; weights are those of the file."""
    whole = torch.load("weights.pth", weights_only=True)["state_dict"]
    masks = lth.Ticket.load("tickets/3.safetensors").masks
    drawn = random(masks, generator=torch.Generator().manual_seed(4))
    starts = {p.name: torch.load(p / "start.pt", weights_only=True) for p in directory.iterdir()}
    dense = starts["dense"]
    for name, kept in (
        ("dense", None), ("imp_toy_level_03", masks), ("imp_toy_level_03_random", drawn),
    ):  # fmt: skip
        assert torch.equal(starts[name]["batch"], dense["batch"])
        for key, value in starts[name]["state"].items():
            own = key.removeprefix("backbone.")
            if kept is not None and own in kept:
                assert torch.equal(value, whole[key] * kept[own])
            elif own != key:
                assert torch.equal(value, whole[key])
            else:
                assert torch.equal(value, dense["state"][key])
    assert not torch.equal(dense["state"]["head.fc.weight"], whole["head.fc.weight"])


def check_tickets_are_kept() -> None:
    """A report of the study knows its tickets, once, and not the stand-in of dense."""
    ticket = lth.Ticket.load("tickets/3.safetensors")
    (copy,) = collect(["whole"]).tickets
    assert (copy.digest, copy.has_weights) == (ticket.masks.digest(), bool(ticket.weights))
    both = [each.path for each in collect(["whole", "tickets"]).tickets]
    assert Path("tickets/3.safetensors") in both
    assert copy.path not in both


def check_by_hand(rows: list[results.Result]) -> None:
    """``lth train`` comes to the same number."""
    options = ["ticket.path=tickets/3.safetensors", "ticket.weights=weights.pth"]
    options += ["ticket.variant.type=random", "ticket.variant.seed=4", "randomness.seed=4"]
    command = ["train", "tiny.py", "--work-dir", "by_hand", "--cfg-options", *options]
    assert lth_command(command) == 0
    (by_hand,) = results.read(["by_hand"])
    (in_study,) = (row for row in rows if row.variant == "random")
    assert by_hand.value == in_study.value
    assert by_hand.config == in_study.config


def check_other_settings_are_refused() -> None:
    with pytest.raises(RunError, match="holds a study with other settings: options"):
        run_study(settings(options={"train_cfg.max_epochs": 1}), "whole")
    torch.save(torch.load("weights.pth", weights_only=True) | {"more": 1}, "other.pth")
    with pytest.raises(RunError, match="weights was"):
        run_study(settings(weights="other.pth"), "whole")
    more = run_study(settings(seeds=(4, 5)), "whole", dry_run=True)
    assert [each["finished"] for each in more["jobs"].values()] == [True] * 3 + [False] * 3


@pytest.mark.long
def test_a_users_own_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that inherits mmdet's RetinaNet and has a ticket of its own."""
    family = FAMILIES["mmdet"]
    monkeypatch.chdir(tmp_path)
    prepare(family, tmp_path)
    command = f"study mine.py --tickets {TICKET} --weights weights.pth --seeds 0 --jobs 1 "
    command += "--controls dense random:match=layer --work-dir work"
    assert lth_command([*command.split(), *small(family)]) == 0
    rows = [row for row in results.read(["work"]) if row.metric == "coco/bbox_mAP"]
    ticket, control = "one-shot magnitude", "random match=layer"
    assert {(row.mask, row.variant) for row in rows} == {
        ("dense", ""), (ticket, ""), (ticket, control),
    }  # fmt: skip
    masks = lth.Ticket.load(TICKET).masks
    place = Path("work/seed_0")
    check_exact(place / "one-shot_magnitude_level_10" / "epoch_1.pth", masks)
    drawn = random(masks, "layer", torch.Generator().manual_seed(0))
    check_exact(place / "one-shot_magnitude_level_10_random_match_layer" / "epoch_1.pth", drawn)
    check_exact(place / "dense" / "epoch_1.pth", masks | ~masks)
