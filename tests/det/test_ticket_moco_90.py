"""The paper's detector on VOC from a ticket: what is missing is named; with a toy VOC it trains."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import pytest
import torch
import torchvision
from lth_core.cli import main

from .toy_voc import make_voc

CONFIG = str(Path(__file__).parents[2] / "configs/det/ticket_moco_90.py")
SMALL = (
    "train_cfg.max_epochs=1",
    "train_cfg.val_interval=1",
    "train_dataloader.batch_size=2",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "train_dataloader.dataset.dataset.pipeline.3.scale=(96,96)",
    "train_dataloader.dataset.dataset.pipeline.4.size=(96,96)",
    "val_dataloader.num_workers=0",
    "val_dataloader.persistent_workers=False",
    "val_dataloader.dataset.pipeline.1.scale=(96,96)",
    "val_dataloader.dataset.pipeline.2.size=(96,96)",
)


def test_everything_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("LTH_TICKETS", str(tmp_path / "tickets"))
    assert main(["train", CONFIG]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)
    assert f"{tmp_path}/tickets/resnet50_mocov2_level10.safetensors" in lines[0]
    assert "lth ticket make" in lines[0]
    assert f"{tmp_path}/data/VOCdevkit" in lines[1]
    assert "host.robots.ox.ac.uk" in lines[1]
    assert "LTH_DATA_ROOT" in lines[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long  # at full width; test_paper_a_configs.py has the narrow ones
def test_trains_with_a_toy_voc_and_a_ticket_of_any_resnet50(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTH_DATA_ROOT", str(make_voc(tmp_path, images=2)))
    monkeypatch.setenv("LTH_TICKETS", str(tmp_path))
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "r50.pth")
    ticket = tmp_path / "resnet50_mocov2_level10.safetensors"
    assert main(["ticket", "make", f"{tmp_path}/r50.pth", "--level", "10", "-o", str(ticket)]) == 0
    work = tmp_path / "work"
    assert main(["train", CONFIG, "--work-dir", str(work), "--cfg-options", *SMALL]) == 0
    state = torch.load(work / "epoch_1.pth", weights_only=True)["state_dict"]
    masks = lth.Ticket.load(ticket).masks
    assert masks.kept == 2_517_442  # of 23,445,504, ten times 20 %
    for name, mask in masks.items():
        assert bool((state["backbone." + name][~mask] == 0).all())
