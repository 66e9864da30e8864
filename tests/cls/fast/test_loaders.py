"""``in_memory`` in whole trainings: the order, the labels, validation, resuming, chains, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.openmmlab.test_resuming import Break, BreakOffError, train
from core.waiting import NoWaiting, WaitError, watch_iterations, watched
from lth_cls.fast import InMemory, parse_in_memory, store
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.keys import apply_package_keys
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope

from cls.small_data import write_cifar, write_fashion_mnist, write_svhn, write_visda

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _fresh_memory() -> Iterator[None]:
    store.forget()
    yield
    store.forget()


def digits(work_dir: Path, **keys: Any) -> Config:
    """A training on 90 digits with a small net; ``keys`` are put at the top."""
    cfg = load_config(str(ROOT / "configs/cls/digits_resnet18.py"))
    cfg.model.backbone.base_channels = 8
    cfg.model.backbone.stem_channels = 8
    cfg.model.head.in_channels = 64
    for loader, per_class in ((cfg.train_dataloader, 9), (cfg.val_dataloader, 4)):
        loader.dataset.per_class = per_class
        loader.batch_size = 16
    cfg.train_cfg = {"by_epoch": True, "max_epochs": 2, "val_interval": 1}
    cfg.default_hooks.checkpoint = {"type": "CheckpointHook", "interval": 1}
    cfg.optim_wrapper.optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    cfg.randomness = {"seed": 3}
    for key, value in keys.items():
        cfg[key] = value
    return cfg


def loader_of(cfg: Config, name: str = "train", seed: int = 3) -> Any:
    apply_package_keys(cfg)
    with DefaultScope.overwrite_default_scope("mmpretrain"):  # as of a runner
        return LTHRunner.build_dataloader(cfg[f"{name}_dataloader"], seed=seed)


def numbers(loader: Any, passes: int = 2) -> list[list[int]]:
    """Of the samples in each batch."""
    return [
        [sample.sample_idx for sample in batch["data_samples"]]
        for _ in range(passes)
        for batch in loader
    ]


def test_the_order_and_the_labels_are_the_stock_loaders(tmp_path: Path) -> None:
    stock, ours = loader_of(digits(tmp_path)), loader_of(digits(tmp_path, in_memory={}))
    assert isinstance(ours.dataset, InMemory)
    assert numbers(stock) == numbers(ours)
    for mine, other in zip(ours, stock, strict=True):
        assert mine["inputs"].shape == other["inputs"].shape
        assert mine["inputs"].dtype == torch.uint8
        labels = [[s.gt_label.tolist() for s in b["data_samples"]] for b in (mine, other)]
        assert labels[0] == labels[1]


def test_pictures_without_augmentation_are_the_very_pixels(tmp_path: Path) -> None:
    stock = loader_of(digits(tmp_path), "val")
    ours = loader_of(digits(tmp_path, in_memory={}), "val")
    for mine, other in zip(ours, stock, strict=True):
        assert torch.equal(mine["inputs"], other["inputs"])
        for a, b in zip(mine["data_samples"], other["data_samples"], strict=True):
            assert a.metainfo == b.metainfo
    one, same = ours.dataset[5], stock.dataset[5]
    assert torch.equal(one["inputs"], same["inputs"])
    assert ours.dataset.get_gt_labels().tolist() == list(stock.dataset.get_gt_labels())
    assert ours.dataset.get_cat_ids(5) == stock.dataset.get_cat_ids(5)
    assert ours.dataset.metainfo == stock.dataset.metainfo


def test_validation_comes_to_the_same(tmp_path: Path) -> None:
    accuracies = []
    for name, keys in (("stock", {}), ("ours", {"in_memory": {"loaders": ["val"]}})):
        accuracies.append(train(digits(tmp_path / name, **keys)).metrics)
    assert accuracies[0] == accuracies[1]


def test_a_training_that_is_broken_off_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = train(digits(tmp_path / "whole", in_memory={}))
    cfg = digits(tmp_path / "parts", in_memory={})
    cfg.default_hooks.checkpoint = {"type": "CheckpointHook", "interval": 2, "by_epoch": False}
    for iteration in (3, 8):
        with pytest.raises(BreakOffError):
            train(cfg, Break(iteration, "train"), resume=iteration > 3)
        store.forget()
    train(cfg, resume=True).require_equal(whole)


class Drawing(Hook):
    """Draws from the global streams, as other parts of a training may."""

    def before_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        torch.rand(3)
        np.random.rand()


def test_what_else_draws_plays_no_part(tmp_path: Path) -> None:
    plain = train(digits(tmp_path / "plain", in_memory={}))
    train(digits(tmp_path / "drawing", in_memory={}), Drawing()).require_equal(plain)


def test_other_seeds_and_epochs_draw_other_crops(tmp_path: Path) -> None:
    ours = loader_of(digits(tmp_path, in_memory={}))
    first, second = (torch.cat([b["inputs"] for b in ours]) for _ in range(2))
    again = loader_of(digits(tmp_path, in_memory={}))
    assert torch.equal(first, torch.cat([b["inputs"] for b in again]))
    assert not torch.equal(first, second)
    other = loader_of(digits(tmp_path, in_memory={}), seed=4)
    assert not torch.equal(first, torch.cat([b["inputs"] for b in other]))


def test_a_chain_reads_the_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lth_cls.fast import dataset

    read: list[str] = []

    def counted(*args: Any) -> Any:
        read.append(args[-1])
        return store.load(*args)

    monkeypatch.setattr(dataset, "load", counted)
    imp = {"rounds": 1, "amount": 0.3, "rewind": "init"}
    adversarial = {"attack": {"preset": "pgd-3", "steps": 1}}
    cfg = digits(tmp_path, in_memory={}, imp=imp, adversarial=adversarial)
    cfg.train_cfg.max_epochs = 1
    LTHRunner.from_cfg(cfg).train()
    assert read == ["DigitsDataset", "DigitsDataset"]  # training and validation
    ticket = {"path": str(tmp_path / "level_01" / "ticket.safetensors")}
    cfg = digits(tmp_path / "ticket", in_memory={}, ticket=ticket)
    cfg.train_cfg.max_epochs = 1
    LTHRunner.from_cfg(cfg).train()
    assert len(read) == 2


WRITERS = {
    "cifar10": write_cifar,
    "cifar100": lambda root: write_cifar(root, "cifar100", 12),
    "svhn": write_svhn,
    "fashion_mnist": write_fashion_mnist,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_papers_data_sets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](tmp_path)
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path))
    batches = []
    for keys in ({}, {"in_memory": {"loaders": ["train", "test"]}}):
        cfg = load_config(str(ROOT / f"configs/_base_/datasets/{name}.py"))
        cfg.merge_from_dict(keys)
        for each in ("train", "test"):
            loader = cfg[f"{each}_dataloader"]
            loader.dataset.verify = False
            loader.num_workers, loader.persistent_workers, loader.batch_size = 0, False, 4
        cfg.train_dataloader.dataset.val_last = 4
        cfg.train_dataloader.dataset = {
            "type": "Portion",
            "images": 0.5,
            "dataset": cfg.train_dataloader.dataset,
        }
        batches.append([b for n in ("test", "train") for b in loader_of(cfg, n)])
    assert [b["inputs"].shape for b in batches[0]] == [b["inputs"].shape for b in batches[1]]
    assert torch.equal(batches[0][0]["inputs"], batches[1][0]["inputs"])
    labels = [[s.gt_label for b in each for s in b["data_samples"]] for each in batches]
    assert labels[0] == labels[1]


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    """What is the same every time is carried out once, by the config's own transforms."""
    root = write_visda(tmp_path)
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "ResizeEdge", "scale": 24, "backend": "pillow"},
        {"type": "CenterCrop", "crop_size": 20},
    ]
    data = {"type": "VisDA2017", "data_root": str(root), "verify": False}
    base = {"batch_size": 4, "num_workers": 0, "sampler": {"type": "DefaultSampler"}}
    loaders = []
    for keys in ({}, {"in_memory": {}}):
        pipeline = [*steps, {"type": "PackInputs"}]
        cfg = Config({"train_dataloader": {**base, "dataset": {**data, "pipeline": pipeline}}})
        cfg.train_dataloader.collate_fn = {"type": "default_collate"}
        cfg.merge_from_dict(keys)
        loaders.append(loader_of(cfg))
    for mine, other in zip(*reversed(loaders), strict=True):
        assert torch.equal(mine["inputs"], other["inputs"])


def every_step() -> list[dict[str, Any]]:
    """A pipeline with all that has a batched counterpart."""
    return [
        {"type": "RandomCrop", "crop_size": 30, "padding": 2, "pad_val": (1, 2, 3)},
        {"type": "RandomResizedCrop", "scale": 24, "backend": "pillow"},
        {"type": "RandomResizedCrop", "scale": 24, "interpolation": "nearest"},
        {"type": "RandomFlip", "prob": 0.5},
        {
            "type": "RandomApply",
            "prob": 0.8,
            "transforms": [
                {"type": "ColorJitter", **dict.fromkeys(("brightness", "contrast", "hue"), 0.2)}
            ],
        },
        {"type": "RandomGrayscale", "prob": 0.2, "keep_channels": True},
        {"type": "GaussianBlur", "magnitude_range": (0.1, 2.0), "magnitude_std": "inf"},
        {"type": "Solarize", "thr": 128},
        {"type": "Lighting", "eigval": [1.0] * 3, "eigvec": [[1.0] * 3] * 3},
        {"type": "RandomErasing"},
        {"type": "RandomErasing", "mode": "rand"},
        {"type": "RandomErasing", "mode": "rand", "fill_std": 3.0},
        {"type": "Resize", "scale": (20, 20)},
        {"type": "ResizeEdge", "scale": 22},
        {"type": "CenterCrop", "crop_size": 20},
    ]


def test_the_host_waits_for_nothing(tmp_path: Path) -> None:
    cfg = digits(tmp_path, in_memory={})
    cfg.train_dataloader.dataset.pipeline = [
        {"type": "MultiView", "num_views": [1, 1], "transforms": [every_step(), every_step()[3:4]]},
        {"type": "PackInputs"},
    ]
    data = loader_of(cfg).dataset
    with NoWaiting(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda *_: 7)  # the seed, which loaders bring
        views = data.__getitems__(range(8))["inputs"]
    assert [view.shape for view in views] == [(8, 3, 20, 20), (8, 3, 32, 32)]
    with NoWaiting(), pytest.raises(WaitError):
        views[0][views[0] > 3]


def test_a_whole_iteration_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch_iterations(monkeypatch)  # without the last of four
    monkeypatch.setattr(InMemory, "__getitems__", watched(InMemory.__getitems__))
    cfg = digits(tmp_path, in_memory={}, imp={"rounds": 1, "rewind": "init"})
    cfg.train_dataloader.dataset.per_class = 7
    cfg.optim_wrapper.clip_grad = {"max_norm": 1.0}
    LTHRunner.from_cfg(cfg).train()
    assert seen == 2 * [0, 1, 2, 4, 5, 6]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_is_not_waited_for(tmp_path: Path) -> None:
    cfg = digits(tmp_path, in_memory={})
    cfg.train_dataloader.dataset.pipeline = [*every_step(), {"type": "PackInputs"}]
    data = loader_of(cfg).dataset
    torch.cuda.set_sync_debug_mode("error")
    try:
        data.__getitems__(list(range(8)))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_is_told_and_too_little_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(store, "print_log", lambda text, **_: told.append(text))
    loader_of(digits(tmp_path, in_memory={}))
    assert "90 pictures of 3 x 32 x 32, take 0.3 MiB of cpu" in told[0]
    store.forget()
    monkeypatch.setattr(store, "free_memory", lambda device: 200_000)
    with pytest.raises(ConfigError, match="0 MiB, and 0 MiB are free on cpu") as problem:
        loader_of(digits(tmp_path, in_memory={}))
    assert "in_memory.device='cpu'" in str(problem.value)


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    steps = [{"type": "RandomDigitView"}, {"type": "Rotate", "angle": 3.0}, {"type": "PackInputs"}]
    cfg = digits(tmp_path, in_memory={})
    cfg.train_dataloader.dataset.pipeline = steps
    with pytest.raises(ConfigError, match="no batched counterpart"):
        apply_package_keys(cfg)
    cfg.in_memory = {"strict": False}
    apply_package_keys(cfg)
    assert cfg.train_dataloader.dataset.type == "DigitsDataset"
    assert cfg.val_dataloader.dataset.type == "mmpretrain.InMemory"
    cfg = digits(tmp_path, in_memory={"device": "cuda:99"})
    with pytest.raises(ConfigError, match="'cuda:99', which is not here"):
        loader_of(cfg)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"devise": "cpu"}, "no field 'devise'; did you mean 'device'"),
        ({"loaders": ["trian"]}, "use some of train, val, test"),
        ({"loaders": []}, "use some of train, val, test"),
        ({"strict": 1}, "use True or False"),
        ({"device": 0}, "use 'auto' or a device's name"),
        (True, "must be a dict"),
    ],
)
def test_malformed_settings(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_in_memory(value)


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    cfg = digits(tmp_path, in_memory={})
    apply_package_keys(cfg)
    once = cfg.to_dict()
    apply_package_keys(cfg)
    assert cfg.to_dict() == once
