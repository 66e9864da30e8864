"""Self-supervised pre-training under a mask: momentum encoders are twins and must be masked too."""

from __future__ import annotations

from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["supervised", "simclr", "mocov2"])
def test_rounds_on_a_pre_training_task(name: str, tmp_path: Path) -> None:
    cfg = load_config(str(CONFIGS / f"cls/pretrain_{name}_digits.py"))
    cfg.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": 3}
    cfg.param_scheduler = None
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True}
    cfg.train_dataloader.batch_size = 16
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.log_level = "ERROR"
    cfg.work_dir = str(tmp_path)
    cfg.imp = {"rounds": 2, "amount": 0.7, "rewind": "init"}
    results = LTHRunner.from_cfg(cfg).train()
    ticket = lth.Ticket.load(tmp_path / "level_02" / "ticket.safetensors")
    assert results[-1].sparsity == pytest.approx(0.91, abs=1e-4)
    checkpoint = next((tmp_path / "level_02").glob("iter_3.pth"))
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    prefixes = {n.removesuffix("layer1.0.conv1.weight") for n in state if "layer1.0.conv1.w" in n}
    assert len(prefixes) == (2 if name == "mocov2" else 1)
    for prefix in prefixes:
        for weight, mask in ticket.masks.items():
            assert bool((state[prefix + weight][~mask] == 0).all()), prefix + weight
    assert set(lth.load_backbone(checkpoint)) == set(ticket.weights or {})
