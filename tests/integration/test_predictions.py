"""Pictures of what models find, against the models as mmengine's runner runs them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from lth_core.errors import ConfigError, RunError
from lth_core.openmmlab.launch import build_runner, load_config
from lth_core.openmmlab.predictions import draw, read_run
from PIL import Image


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory like that of a training that is over, moved from elsewhere."""
    cfg = load_config(
        "lth_cls::cls/digits_resnet18.py",
        {"work_dir": str(tmp_path / "work"), "randomness.seed": 3},
    )
    runner = build_runner(cfg)
    model = runner.model
    for parameter in model.parameters():  # far enough from the start to tell digits apart
        parameter.data.mul_(1.5)
    directory = tmp_path / "run"
    directory.mkdir()
    torch.save({"state_dict": model.state_dict()}, directory / "final.pth")
    (directory / "last_checkpoint").write_text("/where/it/was/final.pth")
    cfg.dump(directory / "digits.py")
    return directory


def test_labels_are_those_of_the_runner(run: Path) -> None:
    cfg, checkpoint = read_run(run)
    rows = draw(cfg, [checkpoint], 12)
    cfg.load_from, cfg.work_dir = str(checkpoint), str(run / "again")
    runner = build_runner(cfg)
    runner.load_or_resume()
    runner.model.eval()
    batch = next(iter(runner.build_dataloader(cfg.test_dataloader)))
    with torch.no_grad():
        found = runner.model.test_step(batch)
    assert [row[0].text for row in rows] == [str(int(each.gt_label)) for each in found[:12]]
    assert [row[1].text for row in rows] == [str(int(each.pred_label)) for each in found[:12]]
    first = np.asarray(Image.open(io.BytesIO(rows[0][0].jpeg)))
    assert max(first.shape[:2]) == 336


def test_preprocessing_beside_the_model_is_part_of_it(run: Path) -> None:
    from lth_core.openmmlab.models import build_model

    cfg, _ = read_run(run)
    assert "data_preprocessor" not in cfg.model
    mean = build_model(cfg).data_preprocessor.mean
    assert mean.flatten().tolist() == cfg.data_preprocessor.mean


def test_what_is_missing_is_said(run: Path, tmp_path: Path) -> None:
    cfg, _ = read_run(run)
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match="no test images"):
        draw(cfg, [], 1)
    (run / "final.pth").unlink()
    with pytest.raises(RunError, match=r"has no checkpoint final\.pth"):
        read_run(run)
    with pytest.raises(RunError, match="has no config"):
        read_run(tmp_path)
