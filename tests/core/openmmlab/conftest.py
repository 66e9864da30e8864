from __future__ import annotations

from pathlib import Path

import lth_core as lth
import pytest
import torch

from .toy import ToyClassifier


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    """A ticket of the toy backbone: 90 % of the weights pruned, with weights of its own."""
    torch.manual_seed(1)
    model = ToyClassifier()
    masks = lth.prune(model, lth.MaskSet.ones(model, lth.prunable(model)), 0.9)
    path = tmp_path / "toy.safetensors"
    lth.Ticket(masks, model.state_dict(), {"level": 1}).save(path)
    return path
