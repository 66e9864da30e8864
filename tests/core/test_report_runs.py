"""Which trainings ``lth report`` shows at work, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lth_core import results
from lth_core.report.material import Material
from lth_core.report.predictions import predictions
from lth_core.report.runs import shown_runs
from lth_core.report.section import Group, Text
from lth_core.results import Result


def train(root: Path, run: str, level: int = 0, variant: str = "", **changes: Any) -> None:
    """A line of results, and a directory that looks like a training's."""
    (root / run).mkdir(parents=True)
    (root / run / "last_checkpoint").write_text("/elsewhere/final.pth")
    fields: dict[str, Any] = {
        "task": "det",
        "weights": "moco",
        "mask": "imp" if level else "dense",
        "level": level,
        "sparsity": 1 - 0.8**level,
        "seed": 0,
        "metric": "mAP",
        "value": 0.5,
        "variant": variant,
        "run": run,
    }
    results.append(root / results.FILE, [Result(**{**fields, **changes})])


def shown(root: Path) -> dict[str, list[str]]:
    return {task: [r.directory.name for r in own] for task, own in shown_runs([root]).items()}


def test_dense_ticket_and_a_control_of_one_level(tmp_path: Path) -> None:
    train(tmp_path, "dense")
    for level in (3, 6, 9):
        train(tmp_path, f"ticket_{level}", level)
    train(tmp_path, "complement_6", 6, "complement")
    train(tmp_path, "random_6", 6, "random")
    train(tmp_path, "labels", weights="labels")
    train(tmp_path, "seg_ticket", 9, task="seg")
    assert shown(tmp_path) == {"det": ["dense", "ticket_6", "random_6"], "seg": ["seg_ticket"]}


def test_without_controls_the_sparsest_ticket(tmp_path: Path) -> None:
    train(tmp_path, "a", 2)
    train(tmp_path, "b", 8)
    assert shown(tmp_path) == {"det": ["b"]}


def test_runs_whose_checkpoint_is_gone_are_not_shown(tmp_path: Path) -> None:
    train(tmp_path, "dense")
    (tmp_path / "dense" / "last_checkpoint").unlink()
    assert shown(tmp_path) == {}
    assert list(predictions(Material((tmp_path,)), 3)) == []


def test_what_cannot_be_drawn_is_said_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("mmengine")
    train(tmp_path, "dense")
    (section,) = predictions(Material((tmp_path,)), 3)
    assert section.parts == (
        Group("det", (Text(f"Not drawn: {tmp_path}/dense has no config of its training"),)),
    )
    assert list(predictions(Material((tmp_path,)), 0)) == []


def test_packages_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'mmengine' (for {name})", name="mmengine")

    monkeypatch.setattr("importlib.import_module", absent)
    train(tmp_path, "dense")
    (section,) = predictions(Material((tmp_path,)), 3)
    (group,) = section.parts
    assert isinstance(group, Group)
    (said,) = group.parts
    assert isinstance(said, Text)
    assert said.text.startswith("Not drawn: No module named 'mmengine'")
