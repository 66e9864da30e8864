"""``lth connectivity``: errors along the line between two trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.analysis import connectivity
from lth_core.cli import main as lth_command
from lth_core.errors import CheckpointError, ConfigError
from lth_core.openmmlab.connectivity import Settings, run_connectivity
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.line import connect, error_name, error_of, estimate_norms
from lth_core.openmmlab.models import build_model
from lth_core.openmmlab.runner import LTHRunner
from torch import Tensor

from .study_config import make


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    return tmp_path


def lth_test(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> float:
    """What ``lth test`` says."""
    assert lth_command(["test", "tiny.py", checkpoint, "--work-dir", "test"]) == 0
    logs = [json.loads(p.read_text()) for p in sorted(Path("test").glob("*/*.json"))]
    capsys.readouterr()
    return float(logs[-1]["accuracy/top1"])


def test_a_barrier_known_in_closed_form() -> None:
    """Two valleys of (w² - 1)², at -1 and 1: the hill between them is 1 high."""

    def error(state: Mapping[str, Tensor]) -> float:
        return float((state["w"] ** 2 - 1) ** 2) + float(state["w"]) * 0.1

    line = connectivity({"w": torch.tensor(-1.0)}, {"w": torch.tensor(1.0)}, error)
    assert line.barrier == pytest.approx(1.0)
    assert line.instability == pytest.approx(max(line.errors) - 0.0)


def test_errors_are_what_is_missing_to_the_best() -> None:
    assert error_of("accuracy/top1", 91.0) == 9.0
    assert error_of("mIoU", 75.0) == 25.0
    assert error_of("pascal_voc/mAP", 0.25) == 0.75
    assert error_of("loss", 0.5) == 0.5
    assert error_name("accuracy/top1") == "100 - accuracy/top1"
    assert error_name("coco/bbox_mAP") == "1 - coco/bbox_mAP"
    assert error_name("loss") == "loss"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": 2}, "use 3 or more"),
        ({"runs": ("a.pth",)}, "a line has two ends"),
        ({"runs": ("a.pth", "b.pth"), "ticket": "t"}, "need no ticket"),
        ({"weights": "w.pth"}, "weights go with a ticket"),
        ({"seeds": (1, 1)}, "two different ones"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings("tiny.py", **changes)


def test_the_same_checkpoint_twice_has_no_barrier(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = load_config("tiny.py")
    cfg.work_dir = "line"
    found = connect(cfg, "weights.pth", "weights.pth", points=3, batches=0)
    (line,) = found.values()
    assert line.barrier == line.instability == 0
    assert line.errors[0] == pytest.approx(100 - lth_test("weights.pth", capsys))
    with pytest.raises(ConfigError, match=r"checkpoint nowhere\.pth does not exist"):
        run_connectivity(Settings("tiny.py", ("weights.pth", "nowhere.pth")), "work")
    cfg.model.backbone.depth = 34
    with pytest.raises(CheckpointError, match=r"weights\.pth is no checkpoint of this config"):
        connect(cfg, "weights.pth", "weights.pth")
    cfg.val_evaluator = None
    with pytest.raises(ConfigError, match="no validation"):
        connect(cfg, "weights.pth", "weights.pth")


def test_norms_take_the_mean_of_what_they_see(place: Path) -> None:
    cfg = load_config("tiny.py")
    cfg.work_dir = "norms"
    cfg.train_dataloader.batch_size = 32  # all there is
    cfg.train_dataloader.dataset.pipeline = cfg.val_dataloader.dataset.pipeline
    runner: Any = LTHRunner.from_cfg(cfg)
    norm = runner.model.backbone.bn1
    norm.running_mean.fill_(7)
    estimate_norms(runner, 5)
    (batch,) = runner.build_dataloader(cfg.train_dataloader, seed=0)
    data = runner.model.data_preprocessor(batch, True)
    with torch.no_grad():
        seen = runner.model.backbone.conv1(data["inputs"])
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen.transpose(0, 1).flatten(1).var(1))
    assert norm.momentum == 0.1
    runner.model.backbone.norm_eval = True
    norm.running_mean.fill_(7)
    estimate_norms(runner, 5)
    assert bool((norm.running_mean == 7).all())


def test_two_runs_share_their_start_and_differ_in_their_data(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "connectivity tiny.py --ticket tickets/3.safetensors --points 3 --jobs 1"
    command += " --work-dir work --json --cfg-options train_cfg.max_epochs=1"
    assert lth_command(command.split()) == 0
    facts = json.loads(capsys.readouterr().out)
    first, second = (
        torch.load(f"work/run/seed_{seed}/start.pt", weights_only=True) for seed in (1, 2)
    )
    common = torch.load("work/start/start.pth", weights_only=True)["state_dict"]
    masks = lth.Ticket.load("tickets/3.safetensors").masks
    whole = torch.load("weights.pth", weights_only=True)["state_dict"]
    for key, value in common.items():
        assert torch.equal(first["state"][key], value)
        assert torch.equal(second["state"][key], value)
        name = key.removeprefix("backbone.")
        if name in masks:
            assert torch.equal(value, whole[key] * masks[name])
    assert not torch.equal(first["batch"], second["batch"])
    (line,) = facts["errors"].values()
    ends = [lth_test(f"work/run/seed_{seed}/final.pth", capsys) for seed in (1, 2)]
    assert [100 - end for end in ends] == pytest.approx([line["errors"][0], line["errors"][-1]])
    assert json.loads(Path("work/connectivity.json").read_text())["errors"] == facts["errors"]
    assert "<svg" in Path("work/connectivity.svg").read_text()
    model: Any = build_model(load_config("tiny.py"))
    model.load_state_dict(torch.load("work/run/seed_1/final.pth", weights_only=True)["state_dict"])
