"""Paper B's configs: what they say against its table, and that they do it, on toy data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.imp import Point
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.openmmlab.preflight import check_files
from lth_core.openmmlab.settings import parse_imp, parse_record, parse_ticket
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS

from ..small_data import write_cifar
from ..toy_imagenet import FEATURES, WIDTH, make_imagenet
from . import recipes
from .recipes import RECIPES

CONFIGS = Path(__file__).parents[3] / "configs"
MASKS = ("winning", "reinit", "random")
NETWORKS = {"imagenet": ("resnet50", "alexnet"), "cifar10": ("resnet18", "vgg19")}
TICKETS = [f"{d}/{net}_{m}" for d, nets in NETWORKS.items() for net in nets for m in MASKS]
REINIT = [name for name in RECIPES if name.endswith(("labels", "rotnet", "exemplar"))]
IMAGES = 1_281_167
"""Of ImageNet's training set."""


def read(config: str) -> Config:
    return load_config(str(CONFIGS / f"{config}.py"))


def test_every_shipped_config_is_in_these_tests() -> None:
    places = [p for data in NETWORKS for p in CONFIGS.glob(f"*/paper_b/{data}/*.py")]
    found = {str(place.relative_to(CONFIGS).with_suffix("")) for place in places}
    mine = {f"cls/paper_b/{name}" for name in [*RECIPES, *TICKETS]}
    mine |= {f"imp/paper_b/{name}" for name in RECIPES}
    mine |= {f"imp/paper_b/{name}_reinit" for name in REINIT}
    assert found == mine


# The table ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_the_papers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = RECIPES[name]
    monkeypatch.setenv("WORLD_SIZE", str(paper.gpus))
    for kind in ("cls", "imp"):
        cfg = read(f"{kind}/paper_b/{name}")
        optimizer, decay = recipes.effective_optimizer(cfg)
        rates = recipes.effective_rates(cfg)
        found = {
            "epochs": cfg.train_cfg.max_epochs,
            "gpus x each": (paper.gpus, cfg.train_dataloader.batch_size),
            "optimizer": optimizer,
            "weight decay": decay,
        }
        want = {
            "epochs": paper.epochs,
            "gpus x each": (paper.gpus, paper.each),
            "optimizer": paper.optimizer,
            "weight decay": paper.decay,
        }
        print(f"{kind}/paper_b/{name}: {found}, rate up to {max(rates):g}; the paper: {paper}")
        assert found == want
        assert rates == pytest.approx(recipes.wanted_rates(paper))
        assert cfg.optim_wrapper.keys() == {"type", "optimizer"}  # no accumulation, no clipping
        assert cfg.train_dataloader.sampler == {"type": "DefaultSampler", "shuffle": True}
        assert not cfg.train_dataloader.get("drop_last", False)


@pytest.mark.parametrize("name", RECIPES)
def test_batch_is_the_same_over_any_number_of_processes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = RECIPES[name].batch
    for processes in (1, 4):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        assert read(f"cls/paper_b/{name}").train_dataloader.batch_size * processes == total
    monkeypatch.setenv("WORLD_SIZE", "7")
    with pytest.raises(lth.LTHError, match=f"a batch of {total} cannot be dealt out evenly"):
        read(f"cls/paper_b/{name}")


UPDATES = {
    # Paper B, table 1, and what follows for other batches.
    "imagenet/resnet50_labels": 2500,
    "imagenet/resnet50_few_images": 5000,
    "imagenet/resnet50_npid": 3750,
    "imagenet/alexnet_rotnet": 469,
    "imagenet/resnet50_s4l_images": 1875,
}


@pytest.mark.parametrize("name", RECIPES)
def test_rounds_are_the_papers(name: str) -> None:
    imp = parse_imp(read(f"imp/paper_b/{name}").imp)
    cifar = name.startswith("cifar10")
    assert imp.rounds == (10 if name.endswith("npid") else 30)
    assert (imp.amount, imp.criterion, imp.allocation) == (0.2, "magnitude", "global")
    assert (imp.stem, set(imp.kinds), imp.backbone) == (True, {"conv", "linear"}, None)
    assert (imp.rewind, imp.first_prune, imp.carried, imp.keep) == ("early", "after", (), ())
    point = Point.parse(imp.rewind_at or "")
    assert (point.value, point.unit) == ((1, "ep") if cifar else (3 * 1_280_000, "samples"))
    batch = RECIPES[name].batch
    if name in UPDATES:
        assert point.iteration(10**9, math.ceil(IMAGES / batch), batch) == UPDATES[name]
    if name in REINIT:
        fresh = parse_imp(read(f"imp/paper_b/{name}_reinit").imp)
        assert (fresh.rounds, fresh.rewind, fresh.rewind_at) == (30, "reinit", None)
        assert (fresh.stem, set(fresh.kinds)) == (True, {"conv", "linear"})


def test_names_in_files_of_results_tell_tasks_apart() -> None:
    tasks = {name: parse_record(read(f"cls/paper_b/{name}").record).task for name in RECIPES}
    for data, nets in NETWORKS.items():
        for net in nets:
            names = [tasks[name] for name in tasks if name.startswith(f"{data}/{net}")]
            assert None not in names
            assert len(set(names)) == len(names)


# Data and augmentation ----------------------------------------------------------------------------


def steps(cfg: Config) -> list[str]:
    """A training pipeline in short, those of a view after ``N views``."""
    found = []
    for step in cfg.train_dataloader.dataset.get("dataset", cfg.train_dataloader.dataset).pipeline:
        inner = [step]
        if step.type == "MultiView":
            (transforms,) = step.transforms
            found.append(f"{step.num_views} views")
            inner = transforms
        for each in inner:
            about = {
                "RandomResizedCrop": lambda s: f" {s.scale} {s.get('crop_ratio_range', (0.08, 1))}",
                "RandomCrop": lambda s: f" {s.crop_size} of {s.padding}-padded",
                "RandomFlip": lambda s: f" {s.prob} {s.get('direction', 'horizontal')}",
                "Rotate": lambda s: f" {s.magnitude_range} {s.magnitude_std} {s.prob}",
            }.get(each.type, lambda s: "")
            found.append(each.type + about(each))
    return found


CROP = ["RandomResizedCrop 224 (0.08, 1)", "RandomFlip 0.5 horizontal"]
PAD = ["RandomCrop 32 of 2-padded", "RandomFlip 0.5 horizontal"]
MORE = ["Rotate (0, 20) inf 1.0", "ColorJitter"]


@pytest.mark.parametrize("name", RECIPES)
def test_augmentation_is_the_papers(name: str) -> None:
    cfg = read(f"cls/paper_b/{name}")
    random, load = (CROP, ["LoadImageFromFile"]) if "imagenet" in name else (PAD, [])
    if name.endswith("exemplar"):
        random = ["2 views", *random, *MORE]
    assert steps(cfg) == [*load, *random, "PackInputs"]
    assert cfg.data_preprocessor.to_rgb == ("imagenet" in name)
    data = cfg.train_dataloader.dataset
    portion = {"few_images": "images", "few_classes": "classes"}
    portion |= {"s4l_images": "images", "s4l_classes": "classes"}
    wanted = next((portion[end] for end in portion if name.endswith(end)), None)
    if wanted is not None:
        given = {key: data.get(key) for key in ("images", "classes")}
        assert given == {"images": None, "classes": None} | {wanted: 0.1}
        assert data.get("hide_labels", False) == ("s4l" in name)
        assert (data.type, data.dataset.type, data.dataset.split) == (
            "Portion",
            "ImageNet",
            "train",
        )
    elif "imagenet" in name:
        assert (data.type, data.split) == ("ImageNet", "train")
    else:
        assert (data.part, data.val_last) == ("train", 0)
    if cfg.val_dataloader is not None:
        assert not cfg.val_dataloader.sampler.shuffle
        val = cfg.val_dataloader.dataset
        assert (val.get("split"), val.get("part")) in (("val", None), (None, "test"))


def test_all_of_cifars_training_pictures_train(data: Path) -> None:
    cfg = read("cls/paper_b/cifar10/resnet18_labels")
    built = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(verify=False, data_root=str(data / "cifar10"))
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            built.append(len(DATASETS.build(loader.dataset)))
    assert built == [5 * 4, 4, 4]  # pictures in five training files, and in the test file


# Networks -----------------------------------------------------------------------------------------


def test_closed_forms_are_the_published_counts() -> None:
    assert recipes.resnet50() == 23_454_912
    assert recipes.alexnet() == 61_100_840 - (4096 * 1000 + 1000) - (
        64 + 192 + 384 + 256 + 256 + 2 * 4096
    )  # torchvision's parameters without its last layer and biases


# One of each network and head; few labels and masks share those of labels.
@pytest.mark.parametrize("name", [n for n in RECIPES if "_few_" not in n and "classes" not in n])
def test_all_but_the_last_layer_is_in_scope(name: str) -> None:
    cfg = read(f"cls/paper_b/{name}")
    if cfg.model.type == "NPID":
        cfg.model.update(samples=10, negatives=2)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    names = lth.prunable(model, stem=True, kinds=("conv", "linear"))
    assert all(each.startswith("backbone.") for each in names)
    network = name.partition("/")[2].partition("_")[0]
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    assert sum(sizes[each] for each in names) == recipes.WEIGHTS[network]()
    # Nothing is left out in the backbone but biases and norms, which are vectors.
    flat = [n for n, p in model.backbone.named_parameters() if p.dim() > 1]
    assert [each.removeprefix("backbone.") for each in names] == flat
    if network == "alexnet":
        assert [each for each in flat if "classifier" in each] == [
            "classifier.1.weight",
            "classifier.4.weight",
        ]


@pytest.mark.parametrize("name", TICKETS)
def test_masks_are_trained_on_labels_by_the_recipe_of_labels(name: str) -> None:
    cfg = read(f"cls/paper_b/{name}")
    labels = read(f"cls/paper_b/{name.rpartition('_')[0]}_labels")
    ticket = parse_ticket(cfg.ticket)
    assert ticket.weights == (None if name.endswith("winning") else "reinit")
    if not name.endswith("random"):
        assert ticket.variant is None
    elif name.startswith("imagenet"):
        assert ticket.variant.settings() == parse_ticket(
            {"path": "x", "weights": "keep", "variant": {"type": "random", "match": "layer"}}
        ).variant.settings()  # fmt: skip
    else:
        assert ticket.variant.settings()["among"].endswith("_cifar10_labels.pth")
    rest = cfg.to_dict()
    rest.pop("ticket")
    assert rest == labels.to_dict()


# At work, narrow, on toy data ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_imagenet(root, images=40)
    write_cifar(root)
    return root


def shrink(name: str, data: Path, work_dir: Path, **options: Any) -> Config:
    """The config with a narrow network, and one or two iterations an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_DATA_ROOT", str(data))
        patch.setenv("LTH_WEIGHTS", str(work_dir))
        patch.setenv("LTH_TICKETS", str(work_dir))
        cfg = read(name)
    network = Path(name).name.partition("_")[0]
    if network.startswith("resnet"):
        cfg.model.backbone.update(stem_channels=WIDTH, base_channels=WIDTH)
        for part in ("neck", "head"):
            if "in_channels" in (cfg.model.get(part) or {}):
                cfg.model[part].in_channels = FEATURES if network == "resnet50" else 8 * WIDTH
    if cfg.model.type == "NPID":
        cfg.model.update(samples=40, negatives=8)
    for loader in filter(None, (cfg.train_dataloader, cfg.val_dataloader)):
        loader.update(batch_size=20, num_workers=0, persistent_workers=False)
        dataset = loader.dataset.get("dataset", loader.dataset)
        if "part" in dataset:
            dataset.verify = False
        views = [
            s for step in dataset.pipeline if step.type == "MultiView" for s in step.transforms[0]
        ]
        for step in (*dataset.pipeline, *views):
            if network != "alexnet" and step.type in ("RandomResizedCrop", "ResizeEdge"):
                step.scale = 32
            if network != "alexnet" and step.type == "CenterCrop":
                step.crop_size = 32
    cfg.train_cfg.max_epochs = 1
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    return cfg


METRICS = {
    "labels": "accuracy/top1",
    "few_images": "accuracy/top1",
    "few_classes": "accuracy/top1",
    "s4l_images": "label_accuracy/top1",
    "s4l_classes": "label_accuracy/top1",
    "rotnet": "rotation/top1",
}
QUICK = [
    "imagenet/resnet50_s4l_classes",
    "imagenet/resnet50_npid",
    "cifar10/resnet18_rotnet",
    "cifar10/resnet18_exemplar",
]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in RECIPES]
)
def test_trains_an_epoch(name: str, data: Path, tmp_path: Path) -> None:
    cfg = shrink(f"cls/paper_b/{name}", data, tmp_path)
    runner = LTHRunner.from_cfg(cfg)
    before = {n: p.clone() for n, p in runner.model.named_parameters()}
    runner.train()
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    task = name.partition("/")[2].partition("_")[2]
    if task in METRICS:
        assert 0 <= runner.message_hub.get_scalar(f"val/{METRICS[task]}").current() <= 100
    after = dict(runner.model.named_parameters())
    frozen = [n for n in before if "weight" in n and torch.equal(before[n], after[n])]
    assert not frozen


def test_missing_images_are_said_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTH_DATA_ROOT", str(tmp_path))
    cfg = read("cls/paper_b/imagenet/resnet50_s4l_images")
    with pytest.raises(lth.LTHError, match=r"ImageNet needs .*image-net\.org"):
        check_files(cfg, ("train_dataloader", "val_dataloader"))


def kept_after(rounds: int, total: int) -> int:
    for _ in range(rounds):
        total -= round(0.2 * total)
    return total


@pytest.mark.parametrize("network", ["resnet18", pytest.param("vgg19", marks=pytest.mark.long)])
def test_rounds_on_turns_and_their_masks_on_labels(
    network: str, data: Path, tmp_path: Path
) -> None:
    rounds = shrink(f"imp/paper_b/cifar10/{network}_rotnet", data, tmp_path, imp__rounds=1)
    rounds.train_cfg.max_epochs = 2
    levels = LTHRunner.from_cfg(rounds).train()
    assert [round(level.sparsity, 3) for level in levels] == [0, 0.2]
    ticket = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors")
    masks = ticket.masks
    assert masks.kept == kept_after(1, masks.total)
    prefix = "features.0.conv." if network == "vgg19" else "conv1."
    assert f"{prefix}weight" in masks
    ticket.save(tmp_path / f"{network}_cifar10_rotnet_level10.safetensors")

    dense = shrink(f"cls/paper_b/cifar10/{network}_labels", data, tmp_path / "dense")
    LTHRunner.from_cfg(dense).train()
    (tmp_path / "dense/epoch_1.pth").rename(tmp_path / f"{network}_cifar10_labels.pth")

    starts = {}
    for mask in MASKS:
        cfg = shrink(f"cls/paper_b/cifar10/{network}_{mask}", data, tmp_path)
        cfg.work_dir = str(tmp_path / mask)
        cfg.optim_wrapper.optimizer.lr = 0.0
        runner = LTHRunner.from_cfg(cfg)
        runner.train()
        state = runner.model.backbone.state_dict()
        starts[mask] = {name: state[name] for name in masks}
        kept = {name: starts[mask][name] != 0 for name in masks}
        assert sum(int(k.sum()) for k in kept.values()) == masks.kept
        same = all(torch.equal(kept[name], masks[name]) for name in masks)
        assert same == (mask != "random")
    # The survivors' early weights, of the task that pruned; fresh ones for the others.
    for name in masks:
        assert torch.equal(starts["winning"][name], ticket.weights[name] * masks[name])
    assert any(not torch.equal(starts["winning"][n], starts["reinit"][n]) for n in masks)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [n for n in [*RECIPES, *(f"{n}_reinit" for n in REINIT)] if "vgg" not in n]
)
def test_one_round(name: str, data: Path, tmp_path: Path) -> None:
    cfg = shrink(f"imp/paper_b/{name}", data, tmp_path, imp__rounds=1)
    if cfg.imp.preset != "paper-b-reinit":
        cfg.imp.rewind_at = "1it"
    _, last = LTHRunner.from_cfg(cfg).train()
    masks = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors").masks
    assert masks.kept == kept_after(1, masks.total)
    assert last.metrics
