"""What a level starts from, what is carried over, and the receipts that prove it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core.errors import ConfigError, ExactnessError, LTHError, RunError
from lth_core.files import load_tensors, save_tensors
from lth_core.imp import PRESETS, IMPSettings, Level, Point, Trained, run_imp
from lth_core.imp.proof import prove
from lth_core.weights import digest, snapshot
from torch import Tensor, nn

from .helpers import MMLike
from .test_imp import Toy, contents, ticket


class Learner(Toy):
    """Also hands over the optimizer and a schedule, if the settings ask for it."""

    def __init__(self, settings: IMPSettings) -> None:
        super().__init__(settings)
        self.settings = settings
        self.handed: dict[int, dict] = {}
        self.taken: dict[int, dict | None] = {}

    def train(self, level: Level) -> Trained:
        self.taken[level.index] = None if level.carried is None else dict(level.carried)
        trained = super().train(level)
        carried = {}
        if "optimizer" in self.settings.carried:
            carried["optimizer"] = {"momentum": torch.full((3,), float(level.index))}
        if "schedule" in self.settings.carried:
            carried["schedule"] = {"last_step": 7 * (level.index + 1)}
        self.handed[level.index] = carried
        return replace(trained, carried=carried or None)


def run(directory: Path, **fields: object) -> tuple[Learner, list]:
    settings = IMPSettings(rounds=2, amount=0.3, **fields)  # type: ignore[arg-type]
    trainer = Learner(settings)
    return trainer, run_imp(settings, directory, trainer)


def masked(weights: dict[str, Tensor], directory: Path, level: int) -> dict[str, Tensor]:
    masks = ticket(directory, level).masks.with_prefix("backbone.")
    return {n: t.masked_fill(~masks[n], 0) if n in masks else t for n, t in weights.items()}


@pytest.mark.parametrize("rewind", ["lr", "none"])
def test_survivors_keep_their_trained_values(rewind: str, tmp_path: Path) -> None:
    trainer, _ = run(tmp_path, rewind=rewind)
    for level in (1, 2):
        expected = masked(trainer.trained[level - 1], tmp_path, level)
        assert digest(trainer.started[level]) == digest(expected)
        assert ticket(tmp_path, level).meta["rewind"] == rewind


def test_reinit_draws_new_weights_at_each_level(tmp_path: Path) -> None:
    trainer, _ = run(tmp_path, rewind="reinit", seed=5)
    for level in (1, 2):
        expected = masked(trainer.fresh(5 + level), tmp_path, level)
        assert digest(trainer.started[level]) == digest(expected)
    assert digest(trainer.started[1]) != digest(trainer.started[2])


def test_what_is_kept_is_not_rewound(tmp_path: Path) -> None:
    trainer, _ = run(tmp_path, keep=("head.*", "*.running_*"))
    first = snapshot(trainer.build())
    for level in (1, 2):
        kept = {n: t for n, t in trainer.trained[level - 1].items() if n.startswith("head.")}
        assert kept
        expected = masked({**first, **kept}, tmp_path, level)
        running = [n for n in expected if ".running_" in n]
        for name in running:
            expected[name] = trainer.trained[level - 1][name]
        assert digest(trainer.started[level]) == digest(expected)


@pytest.mark.parametrize(
    ("rewind", "carry", "expected"),
    [
        ("pretrained", None, set()),
        ("none", None, {"schedule"}),
        ("lr", ("optimizer",), {"optimizer"}),
        ("pretrained", ("optimizer", "schedule"), {"optimizer", "schedule"}),
    ],
)
def test_what_is_carried_over(
    rewind: str, carry: tuple[str, ...] | None, expected: set[str], tmp_path: Path
) -> None:
    trainer, _ = run(tmp_path, rewind=rewind, carry=carry)
    assert trainer.taken[0] is None
    for level in (1, 2):
        taken = trainer.taken[level] or {}
        assert set(taken) == expected
        handed = trainer.handed[level - 1]
        assert taken.get("schedule") == handed.get("schedule")
        if "optimizer" in expected:
            assert torch.equal(taken["optimizer"]["momentum"], handed["optimizer"]["momentum"])


@pytest.mark.parametrize("damage", ["flipped", "missing", "cut"])
@pytest.mark.parametrize("name", ["start.safetensors", "carried.pth"])
def test_damage_of_what_is_handed_over_is_repaired(name: str, damage: str, tmp_path: Path) -> None:
    fields = {"rewind": "none", "carry": ("optimizer", "schedule")}
    _, results = run(tmp_path / "run", **fields)
    whole = contents(tmp_path / "run")
    for level in (1, 2):
        path = tmp_path / "run" / f"level_{level:02d}" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(data if damage == "flipped" else data[:100])
        assert run(tmp_path / "run", **fields)[1] == results
        assert contents(tmp_path / "run") == whole


def test_a_level_that_starts_elsewhere_is_noticed(tmp_path: Path) -> None:
    masks = lth.MaskSet({"w": torch.tensor([True, False, True])})
    path = tmp_path / "rewind.safetensors"
    start = {"b.w": torch.tensor([1.0, 2.0, -0.0]), "x": torch.tensor([5])}
    save_tensors(path, start, {"digest": digest(start)})
    level = Level(1, tmp_path, masks, path, path)
    right = {"b.w": torch.tensor([1.0, 0.0, -0.0]), "x": torch.tensor([5])}
    level.verify_start(right, ("b.",))
    for wrong in (
        {"b.w": torch.tensor([1.0, 0.0, 0.0])},  # a zero of the other sign
        {"b.w": torch.tensor([1.0, 2.0, -0.0])},
        {"x": torch.tensor([6])},
    ):
        with pytest.raises(ExactnessError, match="level 1 does not start"):
            level.verify_start({**right, **wrong}, ("b.",))


# ---------------------------------------------------------------------------------------------
# Settings


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_papers(name: str) -> None:
    settings = IMPSettings.from_preset(name)
    # Table of differences between the papers: rounds, stem, first mask, rewind.
    expected = {
        "a": (18, False),
        "b": (30, True),
        "c": (19, True),
    }[name.removeprefix("paper-")[0]]
    assert (settings.rounds, settings.stem) == expected
    assert settings.amount == 0.2
    assert settings.first_prune == ("before" if "code" in name or name == "paper-c" else "after")
    assert IMPSettings.from_preset(name, rounds=3).rounds == 3


def test_paper_b_rewinds_where_its_table_says() -> None:
    at = IMPSettings.from_preset("paper-b").rewind_at
    assert at is not None
    per_epoch = 1_281_167 // 1536
    assert Point.parse(at).iteration(90 * per_epoch, per_epoch, batch=1536) == 2500
    # 10 % of the images, batch 768: 5000 updates.
    assert Point.parse(at).iteration(200 * 167, 167, batch=768) == 5000


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rewind": "lr", "carry": ("schedule",)}, "starts the schedule again"),
        ({"rewind": "none", "carry": ("optimizer",)}, "carries the schedule"),
        ({"carry": ("momentum",)}, "names 'momentum'; choose from optimizer, schedule"),
        ({"carry": "optimizer"}, "must be a list of names"),
        ({"keep": (1,)}, "must be a list of names"),
        ({"batches": 0}, "imp.batches is 0"),
        ({"criterion": "snipe"}, "unknown criterion"),
    ],
)
def test_contradictions_are_named(fields: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        IMPSettings(rounds=1, **fields)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match="'paper-d'; choose from paper-a"):
        IMPSettings.from_preset("paper-d")


def test_a_criterion_that_needs_data_says_so_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs data"):
        run(tmp_path, criterion="snip")


# ---------------------------------------------------------------------------------------------
# Receipts


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "run"
    run(directory)
    return directory


def test_receipts_prove_what_was_measured(finished: Path) -> None:
    for level in range(3):
        path = finished / f"level_{level:02d}"
        proven = prove(path / "ticket.safetensors")
        receipt = json.loads((path / "metrics.json").read_text())
        assert proven["trained"] == receipt["trained"]
        assert proven["start"] == receipt["start"]
        assert "imp 0" in proven["seeds"]
        assert f"torch {torch.__version__}" in proven["versions"]
        assert ("mask" in proven) == (level > 0)


def test_a_receipt_holds_what_the_model_started_from(tmp_path: Path) -> None:
    trainer, _ = run(tmp_path)
    for level in range(3):
        receipt = json.loads((tmp_path / f"level_{level:02d}/metrics.json").read_text())
        assert receipt["start"] == digest(trainer.started[level])


def _other_weights(run_directory: Path) -> None:
    path = run_directory / "rewind.safetensors"
    weights = load_tensors(path, RunError, "x")[0]
    weights["backbone.layer1.0.conv1.weight"] += 1
    save_tensors(path, weights, {"digest": digest(weights)})


def _other_mask(run_directory: Path) -> None:
    path = run_directory / "level_02/ticket.safetensors"
    found = lth.Ticket.load(path)
    masks = dict(found.masks)
    name = next(iter(masks))
    masks[name] = ~masks[name]
    start = load_tensors(run_directory / "rewind.safetensors", RunError, "x")[0]
    lth.Ticket(lth.MaskSet(masks), start, found.meta).save(path)


def _other_settings(run_directory: Path) -> None:
    path = run_directory / "imp.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def _other_level(run_directory: Path) -> None:
    shutil.copy(
        run_directory / "level_01/ticket.safetensors", run_directory / "level_02/ticket.safetensors"
    )


def _other_metrics(run_directory: Path) -> None:
    path = run_directory / "level_02/metrics.json"
    path.write_text(path.read_text().replace('"loss": ', '"loss": 1'))


def _no_parent(run_directory: Path) -> None:
    (run_directory / "level_01/metrics.json").unlink()


@pytest.mark.parametrize(
    "forge",
    [_other_weights, _other_mask, _other_settings, _other_level, _other_metrics, _no_parent],
)
def test_a_forged_run_proves_nothing(forge, finished: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(finished, tmp_path / "run"))
    prove(directory / "level_02/ticket.safetensors")
    forge(directory)
    with pytest.raises(LTHError):
        prove(directory / "level_02/ticket.safetensors")


def test_a_ticket_outside_of_a_run_proves_nothing_and_is_fine(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copy(finished / "level_01/ticket.safetensors", tmp_path / "mine.safetensors")
    assert prove(tmp_path / "mine.safetensors") == {}


def test_mmlike_has_what_these_tests_stand_on() -> None:
    names = snapshot(MMLike())
    assert any(name.startswith("head.") for name in names)
    assert any(".running_" in name for name in names)
    assert isinstance(MMLike(), nn.Module)
