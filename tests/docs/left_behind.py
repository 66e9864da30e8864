"""What pages leave behind has to be what they say it is."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import torch
from integration.openmmlab_runs import check_exact


def readme(place: Path) -> None:
    """Nineteen nested levels, a detector from the ticket, and a ticket by hand."""
    tickets = sorted((place / "work_dirs/find_tickets").glob("level_*/ticket.safetensors"))
    masks = [lth.Ticket.load(ticket).masks for ticket in tickets]
    assert len(masks) == 19
    for k, mask in enumerate(masks):
        assert mask.kept == _kept_after(mask.total, k)
    assert lth.Ticket.load(place / "my_ticket.safetensors").masks.sparsity > 0.19


def new_task(place: Path) -> None:
    """Four trainings whose pruned weights are zero, and controls of the right sizes."""
    ticket = lth.Ticket.load(place / "tickets/resnet50_mocov2_level10.safetensors")
    work = place / "work_dirs"
    for task, classes in (("birds", 2), ("pets", 2), ("fields", 3), ("leaves", 6)):
        checkpoint = max((work / task).glob("*.pth"))
        check_exact(checkpoint, ticket.masks)
        said = "masked 52 weights at backbone, sparsity 89.26 %; loaded 318 tensors"
        assert any(said in log.read_text() for log in (work / task).glob("*/*.log"))
        meta = torch.load(checkpoint, weights_only=True)["meta"]["dataset_meta"]
        assert len(meta["classes"]) == classes
    kept = {name: _kept(work / name / "epoch_12.pth", ticket.masks) for name in
            ("birds", "birds_dense", "birds_random")}  # fmt: skip
    assert kept["birds"] == kept["birds_random"] == ticket.masks.kept
    assert kept["birds_dense"] == ticket.masks.total
    found = lth.Ticket.load(work / "birds_rounds/level_01/ticket.safetensors").masks
    assert found.kept == _kept_after(found.total, 1)


def _kept(checkpoint: Path, masks: lth.MaskSet) -> int:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return sum(int(state[f"backbone.{name}"].count_nonzero()) for name in masks)


def _kept_after(total: int, prunes: int) -> int:
    kept = total
    for _ in range(prunes):
        kept -= round(0.2 * kept)
    return kept
