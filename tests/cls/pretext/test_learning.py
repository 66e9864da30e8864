"""Pretext tasks on real digits: they learn, go on exactly, and go through rounds.

Rotation needs digits whose turns can be told: turned by 180 degrees 0, 1 and 8 look as before, 2
and 5 nearly so, and 6 and 9 are each other. So these tests take 3, 4 and 7: none is another turned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.imp import Point
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.weights import read_state
from mmengine.config import Config

CONFIGS = Path(__file__).parents[3] / "configs"
CLASSES = ("3", "4", "7")
TRAIN = 407
"""How many digits of these classes there are to train with."""

WIDTH = 8
PACK = {"type": "PackInputs"}


def digits(task: str, work_dir: Path, epochs: int, **options: Any) -> Config:
    """A narrow ResNet-18 on digits of 16 pixels."""
    cfg = load_config(str(CONFIGS / "cls/digits_resnet18.py"))
    cfg.model.backbone.update(stem_channels=WIDTH, base_channels=WIDTH)
    cfg.model.head.update(in_channels=8 * WIDTH, num_classes=3)
    cfg.data_preprocessor = {
        "mean": [127.5] * 3,
        "std": [64.0] * 3,
        "type": "SelfSupDataPreprocessor",
    }
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(classes=CLASSES, size=16)
        loader.dataset.pipeline = [PACK]
    cfg.train_dataloader.update(batch_size=32, drop_last=False)
    cfg.train_cfg = {"by_epoch": True, "max_epochs": epochs, "val_interval": epochs}
    cfg.optim_wrapper = {"optimizer": {"type": "AdamW", "lr": 3e-3}}
    cfg.param_scheduler = None
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    TASKS[task](cfg)
    if task in ("exemplar", "npid"):
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    return cfg


def rotnet(cfg: Config) -> None:
    cfg.data_preprocessor.type = "RotationPreprocessor"
    cfg.model.head.num_classes = 4
    cfg.val_evaluator = {"type": "RotationAccuracy"}


def s4l(cfg: Config) -> None:
    cfg.data_preprocessor.type = "SemiSupervisedRotationPreprocessor"
    heads = {"label": 3, "rotation": 4}
    cfg.model.head = {
        "type": "WholeBatchMultiTaskHead",
        "in_channels": 8 * WIDTH,
        "task_heads": {
            name: {"type": "LinearClsHead", "num_classes": classes}
            for name, classes in heads.items()
        },
    }
    whole = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = {
        "type": "Portion",
        "images": 0.1,
        "hide_labels": True,
        "dataset": whole,
    }
    metrics = {"label": [{"type": "Accuracy", "topk": (1,)}]}
    cfg.val_evaluator = {"type": "MultiTasksMetric", "task_metrics": metrics}


def exemplar(cfg: Config) -> None:
    cfg.model.type = "Exemplar"
    cfg.model.head = {"type": "TripletMarginHead", "in_channels": 8 * WIDTH, "out_channels": 16}
    view = [{"type": "RandomCrop", "crop_size": 16, "padding": 2}]
    cfg.train_dataloader.dataset.pipeline = [
        {"type": "MultiView", "num_views": 2, "transforms": [view]},
        PACK,
    ]


def npid(cfg: Config) -> None:
    cfg.model.update(type="NPID", samples=TRAIN, channels=16, negatives=64)
    cfg.model.neck = {
        "type": "LinearNeck",
        "in_channels": 8 * WIDTH,
        "out_channels": 16,
        "gap_dim": 2,
        "norm_cfg": None,
    }
    loss = {"type": "CrossEntropyLoss"}
    cfg.model.head = {"type": "ContrastiveHead", "loss": loss, "temperature": 0.2}


TASKS = {"rotnet": rotnet, "s4l": s4l, "exemplar": exemplar, "npid": npid}


def run(cfg: Config) -> Any:
    runner = LTHRunner.from_cfg(cfg)
    return runner, runner.train()


def test_digits_that_are_told_when_turned(tmp_path: Path) -> None:
    runner, _ = run(digits("rotnet", tmp_path, 2))
    assert len(runner.train_dataloader.dataset) == TRAIN
    # By chance 25; nothing but how a digit stands tells it.
    assert runner.message_hub.get_scalar("val/rotation/top1").current() > 70


def test_classes_from_one_label_in_ten_with_s4l(tmp_path: Path) -> None:
    runner, _ = run(digits("s4l", tmp_path, 3))
    labels = runner.train_dataloader.dataset.get_gt_labels()
    assert 36 <= (labels >= 0).sum() <= 45
    # By chance about 33.
    assert runner.message_hub.get_scalar("val/label_accuracy/top1").current() > 60


@pytest.mark.parametrize(("task", "epochs"), [("exemplar", 3), ("npid", 6)])
def test_instances_are_told_apart_better_than_by_chance(
    task: str, epochs: int, tmp_path: Path
) -> None:
    cfg = digits(task, tmp_path, epochs)
    runner = LTHRunner.from_cfg(cfg)
    losses: list[float] = []
    record = runner.model.parse_losses
    runner.model.parse_losses = lambda found: (losses.append(found["loss"].item()), record(found))[
        1
    ]
    runner.train()
    steps = -(-TRAIN // 32)
    assert len(losses) == epochs * steps
    start, end = sum(losses[:4]) / 4, sum(losses[-steps:]) / steps
    # At chance: the margin, and the logarithm of 65 places.
    chance = {"exemplar": 0.5, "npid": 4.17}[task]
    assert end < 0.75 * start
    assert end < 0.75 * chance


def test_npids_places_are_those_of_the_images(tmp_path: Path) -> None:
    runner, model = run(digits("npid", tmp_path, 5))
    data = runner.train_dataloader.dataset
    model.eval()
    nearer = []  # how many places are nearer to an image than its own
    with torch.no_grad():
        for place in range(0, TRAIN, 8):
            sample = data[place]
            assert sample["data_samples"].sample_idx == place
            images = model.data_preprocessor(
                {"inputs": sample["inputs"][None], "data_samples": [sample["data_samples"]]}
            )["inputs"]
            embedded = torch.nn.functional.normalize(model.neck(model.backbone(images))[-1])
            cosines = model.bank @ embedded[0]
            nearer.append(int((cosines > cosines[place]).sum()))
    # If places were others', half of all: 203.
    assert sorted(nearer)[len(nearer) // 2] < 60


def test_npid_on_a_portion_names_places_in_the_portion(tmp_path: Path) -> None:
    cfg = digits("npid", tmp_path, 1)
    whole = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = {"type": "Portion", "images": 0.1, "dataset": whole}
    count = 41  # of 137, 136 and 134 digits
    cfg.model.update(samples=count, negatives=None)
    runner = LTHRunner.from_cfg(cfg)
    before = runner.model.bank.clone()
    runner.train()
    assert len(runner.train_dataloader.dataset) == count
    assert bool((runner.model.bank != before).any(dim=1).all())


def test_npid_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole, _ = run(digits("npid", tmp_path / "whole", 2))
    run(digits("npid", tmp_path / "parts", 1))
    cfg = digits("npid", tmp_path / "parts", 2)
    cfg.resume = True
    resumed, _ = run(cfg)
    assert resumed.iter == whole.iter == 2 * 13
    state = resumed.model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_npids_memory_is_rewound_with_the_weights(tmp_path: Path) -> None:
    cfg = digits("npid", tmp_path, 2)
    cfg.imp = {"preset": "paper-b", "rounds": 1, "rewind_at": "1ep"}
    starts: dict[str, torch.Tensor] = {}
    original = LTHRunner.call_hook

    def spy(self: Any, point: str, **kwargs: Any) -> None:
        original(self, point, **kwargs)
        level = Path(self.work_dir).name
        if (point, level) in (("before_train", "level_01"), ("after_train_epoch", "level_00")):
            starts.setdefault(level, self.model.bank.clone())

    LTHRunner.call_hook = spy
    try:
        _, levels = run(cfg)
    finally:
        LTHRunner.call_hook = original
    kept = read_state(tmp_path / "rewind.safetensors")["bank"]
    assert torch.equal(starts["level_00"], kept)  # as it was after one epoch
    assert torch.equal(starts["level_01"], kept)
    assert [round(level.sparsity, 3) for level in levels] == [0, 0.2]
    assert Point.parse("3.84Msamples").iteration(10**9, 1251, 1024) == 3750
    masks = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors").masks
    assert "conv1.weight" in masks
    assert not any("fc" in name or "bank" in name for name in masks)
