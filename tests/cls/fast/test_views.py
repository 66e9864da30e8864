"""Views that the device finishes are drawn as the stock pipeline draws them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.openmmlab.test_resuming import train
from lth_cls.fast import BatchedViews
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.keys import apply_package_keys
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from .pictures import pictures
from .test_distributions import require_alike

ROOT = Path(__file__).parents[3]


def two_views(name: str, **keys: Any) -> Config:
    """ImageNet's two views of a config, of 32 pixels, on digits in place of files."""
    cfg = load_config(str(ROOT / f"configs/_base_/datasets/imagenet_{name}.py"))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        _, views_, pack = loader.dataset.pipeline
        for step in views_.transforms[0]:
            if step.type == "RandomResizedCrop":
                step.scale = 32
        loader.batch_size, loader.num_workers, loader.persistent_workers = 16, 0, False
        loader.dataset = {"type": "DigitsDataset", "per_class": 9, "pipeline": [views_, pack]}
    for key, value in keys.items():
        cfg[key] = value
    return cfg


def batches(cfg: Config, passes: int) -> list[list[torch.Tensor]]:
    """What the model gets, before it is normalised."""
    apply_package_keys(cfg)
    made = []
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        loader = LTHRunner.build_dataloader(cfg.train_dataloader, seed=1)
        plain = {**cfg.data_preprocessor, "mean": [0.0] * 3, "std": [1.0] * 3, "to_rgb": False}
        preprocessor = MODELS.build(plain)
        for _ in range(passes):
            made += [preprocessor(batch, True)["inputs"] for batch in loader]
    return made


@pytest.mark.parametrize("name", ["simclr", "mocov2"])
@pytest.mark.parametrize("key", ["in_memory", "device_views"])
def test_views_are_drawn_as_mmpretrain_draws_them(name: str, key: str) -> None:
    """Brightness, contrast, colour and sharpness of single views, and how alike two are."""
    stock = batches(two_views(name), 3)
    ours = batches(two_views(name, **{key: {}}), 3)
    for first, second in (stock[0], ours[0]):
        assert first.shape == second.shape == (16, 3, 32, 32)
        assert not torch.equal(first, second)
    looks = (
        lambda v: v.mean((1, 2, 3)),
        lambda v: v.std((1, 2, 3)),
        lambda v: (v[:, 0] - v[:, 2]).abs().mean((1, 2)),
        lambda v: v.diff(dim=3).abs().mean((1, 2, 3)),
        lambda v: v.amax((1, 2, 3)),
    )
    for look in looks:
        mine, other = (
            torch.cat([look(view) for pair in made for view in pair]) for made in (ours, stock)
        )
        require_alike(mine.numpy(), other.numpy())
    mine, other = (
        torch.cat([(a - b).abs().mean((1, 2, 3)) for a, b in made]) for made in (ours, stock)
    )
    require_alike(mine.numpy(), other.numpy())


def test_device_views_leave_the_crop_to_the_workers() -> None:
    cfg = two_views("mocov2", device_views={})
    apply_package_keys(cfg)
    once = deepcopy(cfg.to_dict())
    apply_package_keys(cfg)
    assert cfg.to_dict() == once
    views_, seed, _ = cfg.train_dataloader.dataset.pipeline
    assert [step.type for step in views_.transforms[0]] == ["RandomResizedCrop"]
    assert seed.type == "mmpretrain.SeedViews"
    first, second = cfg.data_preprocessor["views"]
    kinds = ["RandomApply", "RandomGrayscale", "GaussianBlur", "RandomFlip"]
    assert [step["type"] for step in first] == [step["type"] for step in second] == kinds


def test_a_seed_makes_the_same_views_in_mixed_precision_too() -> None:
    made = []
    for dtype in (None, torch.bfloat16):
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            made.append(batches(two_views("simclr", device_views={}), 1))
    for one, other in zip(*made, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == torch.float32
            assert torch.equal(a, b)


def test_views_of_one_picture_and_misuse() -> None:
    images = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2)

    steps = [{"type": "RandomFlip", "prob": 1.0}]
    made = BatchedViews(views=[steps, []])
    data = {"inputs": images, "data_samples": [{"view_seed": 3}] * 4}
    first, second = made(data)["inputs"]
    assert torch.equal(first, images.flip(3).float())
    assert torch.equal(second, images.float())
    with pytest.raises(ConfigError, match="gives 3 views"):
        made({**data, "inputs": [images] * 3})
    with pytest.raises(ConfigError, match="needs SeedViews"):
        made({**data, "data_samples": [{}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cfg: cfg.update(device_views={"size": 3}), "no field 'size'"),
        (lambda cfg: cfg.data_preprocessor.update(type="TwoNormDataPreprocessor"), "goes with"),
        (lambda cfg: cfg.pop("data_preprocessor"), "no data_preprocessor"),
        (lambda cfg: cfg.train_dataloader.dataset.pipeline.pop(0), "end with MultiView"),
        (
            lambda cfg: cfg.train_dataloader.dataset.pipeline[0].transforms[0].pop(0),
            "no crop to one size",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(change: Any, message: str) -> None:
    cfg = two_views("mocov2", device_views={})
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        apply_package_keys(cfg)


def test_a_training_depends_on_its_seed_alone(tmp_path: Path) -> None:
    """A model learns from such views, whatever else draws."""
    states = []
    for number in range(2):
        cfg = load_config(str(ROOT / "configs/_base_/models/simclr_resnet18_w16.py"))
        cfg.merge_from_dict(two_views("simclr").to_dict())
        cfg.pop("val_dataloader"), cfg.pop("test_dataloader")
        for key in ("val_evaluator", "test_evaluator", "val_cfg", "test_cfg"):
            cfg.pop(key, None)
        cfg.device_views, cfg.default_scope = {}, "mmpretrain"
        cfg.train_cfg = {"by_epoch": True, "max_epochs": 1}
        cfg.optim_wrapper = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}
        cfg.work_dir, cfg.log_level = str(tmp_path / str(number)), "ERROR"
        cfg.randomness = {"seed": 1}
        np.random.seed(number)
        states.append(train(cfg))
    states[0].require_equal(states[1])
