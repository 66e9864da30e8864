"""Paper B, Fig. 7: four clocks by which a tenth of ImageNet can be rewound to the same point."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from lth_core.imp import Point
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.settings import parse_imp

REWINDS = Path(__file__).parents[2] / "configs/imp/rewinds"
IMAGES = 1_281_167
FULL = math.ceil(IMAGES / 1536)  # updates an epoch, of 90 epochs
TENTH = math.ceil(IMAGES / 10 / 768)  # of 200

# The config, the same point with all of ImageNet, and the tenth's epochs that follow.
CLOCKS = {
    "epochs": ("3ep", 3),
    "samples": ("3.84Msamples", 30),
    "updates": ("2500it", 15),
    "share": ("3.3%", 6.6),
}


def test_every_config_is_here() -> None:
    assert {path.stem for path in REWINDS.glob("*.py")} == {f"few_images_{c}" for c in CLOCKS}


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_iteration_is_the_papers(clock: str) -> None:
    text, epochs = CLOCKS[clock]
    cfg = load_config(str(REWINDS / f"few_images_{clock}.py"))
    settings = parse_imp(cfg.imp)
    assert (settings.rewind, settings.rewind_at) == ("early", text)
    assert (settings.rounds, settings.stem, settings.kinds) == (30, True, ("conv", "linear"))
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (200, 768)
    assert cfg.train_dataloader.dataset.images == 0.1
    point = Point.parse(text)
    iteration = point.iteration(200 * TENTH, TENTH, 768)
    assert iteration / TENTH == pytest.approx(epochs, rel=0.005)
    # With all of ImageNet each is the same point: 2,500 updates (table 1).
    assert point.iteration(90 * FULL, FULL, 1536) == pytest.approx(2500, rel=0.01)


def test_by_hand() -> None:
    """167 updates an epoch, 33,400 in all."""
    assert TENTH == 167
    found = {c: Point.parse(t).iteration(33_400, 167, 768) for c, (t, _) in CLOCKS.items()}
    assert found == {"epochs": 501, "samples": 5000, "updates": 2500, "share": 1102}
