"""``lth compact`` and what it stands on: OpenMMLab's models without dead channels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from lth_core.cli import main as lth_command
from lth_core.compaction import compact, exporting, largest_error, tensors
from lth_core.openmmlab import compacting, launch
from lth_core.openmmlab.models import build_for_use
from lth_core.randomness import isolated
from mmengine.config import Config
from torch import nn

CLASSIFIER = (
    "_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'\n"
    "model = dict(backbone=dict(base_channels=8, stem_channels=8))\n"
    "model['head'] = dict(in_channels=64, num_classes=5)\n"
)
NARROW = {"model.backbone.base_channels": 8, "model.backbone.stem_channels": 8}
OTHERS = (
    ("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "neck.in_channels", [32, 64, 128, 256]),
    ("mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py", "decode_head.in_channels", 256),
)
IN_BLOCKS = re.compile(r"backbone\.layer\d\.\d+\.conv[12]")
"""Of bottlenecks; of basic blocks, one of them writes to the stream."""


def kill(model: nn.Module) -> None:
    """Zeroes every third filter of the blocks' first two convolutions."""
    for name, module in model.named_modules():
        if IN_BLOCKS.fullmatch(name):
            module.weight.data[::3] = 0
        if isinstance(module, nn.BatchNorm2d):  # so constants are not all zero
            nn.init.normal_(module.bias.data, 0, 0.1)


@pytest.mark.parametrize(("config", "key", "widths"), OTHERS)
def test_detectors_and_segmentors(config: str, key: str, widths: object) -> None:
    cfg = launch.load_config(config, {**NARROW, f"model.{key}": widths})
    cfg.model.backbone.init_cfg = None
    with isolated(0):
        model = build_for_use(cfg)
        kill(model)
    found = compact(model, compacting.random_pictures((3, 64, 64)), compacting.passing)
    assert found.error < 1e-4
    narrowed = [
        name for name, change in found.layers.items() if change.outputs[1] < change.outputs[0]
    ]
    assert sum(name.startswith("backbone.layer") for name in narrowed) > 40  # norms as well
    # The whole model still runs, heads and all, and says the same.
    pictures = torch.randn(1, 3, 64, 96)
    call = compacting.tensor_forward(found.model, (64, 96))
    other = compacting.tensor_forward(model.eval(), (64, 96))
    with torch.no_grad():
        pair = [list(tensors(each(pictures))) for each in (call, other)]
    assert largest_error(*pair) < 1e-4


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CLASSIFIER)
    return path


@pytest.fixture
def checkpoint(config: Path, tmp_path: Path) -> Path:
    with isolated(0):
        model = build_for_use(Config.fromfile(config))
        kill(model)
    torch.save({"state_dict": model.state_dict(), "meta": {"epoch": 1}}, tmp_path / "epoch_1.pth")
    return tmp_path / "epoch_1.pth"


def test_the_command(
    config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, file = tmp_path / "small.safetensors", tmp_path / "small.onnx"
    command = ["compact", str(config), str(checkpoint), "--shape", "32", "48"]
    written = ["-o", str(small), "--onnx", str(file)]
    assert lth_command([*command, *written, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    cfg = Config.fromfile(config)
    loaded = compacting.load_compacted(cfg, small)
    assert facts["after"]["params"] == sum(p.numel() for p in loaded.parameters())
    assert facts["after"]["params"] < 0.8 * facts["before"]["params"]
    assert facts["after"]["flops"] < facts["before"]["flops"]
    assert facts["error"] < 1e-4 > facts["onnx_error"]
    model = build_for_use(cfg)
    model.load_state_dict(torch.load(checkpoint)["state_dict"])
    pictures = torch.randn(3, 3, 32, 48)
    with torch.no_grad():
        wanted = compacting.passing(model.eval(), pictures)
        assert largest_error([compacting.passing(loaded, pictures)], [wanted]) < 1e-4
    got = exporting.run_session(exporting.open_session(str(file)), pictures.numpy())
    assert largest_error([torch.from_numpy(got[0])], [wanted]) < 1e-4
    # As a table, and nothing written.
    small.unlink()
    assert lth_command([*command, "--layers"]) == 0
    table = capsys.readouterr().out
    assert all(f"backbone.layer{n}" in table for n in (1, 2, 3, 4))
    assert "outputs differ by at most" in table
    assert not small.exists()


def test_what_it_refuses_is_one_line(
    config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {"x": torch.ones(2)}}, tmp_path / "other.pth")
    for file, message in (
        ("other.pth", "does not fit the config's ImageClassifier"),
        ("nowhere.pth", "does not exist"),
    ):
        out = tmp_path / "small"
        command = ["compact", str(config), str(tmp_path / file), "-o", str(out)]
        assert lth_command(command) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
        assert not out.exists()
