"""Linear SVMs on features: the machines, and the loop that tests checkpoints with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from lth_cls.evaluation import LinearSVMLoop, SVMSettings, VOCClassificationAP, train_svms
from lth_cls.evaluation.linear_svm import COSTS
from lth_core.cli import main
from lth_core.errors import ConfigError, LTHError
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from mmengine.config import Config
from mmpretrain.evaluation import AveragePrecision
from mmpretrain.models import ResNet
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from .toy_imagenet import WIDTH, narrow_backbone, under
from .toy_voc07 import make_voc07, objects_of

CONFIGS = Path(__file__).parents[2] / "configs/cls"
PRECISE = {"tolerance": 1e-9, "iterations": 200_000}


def problem(seed: int = 0, images: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes, and targets of which some are left out."""
    features, labels = make_classification(
        images, 8, n_informative=4, n_classes=3, class_sep=0.7, random_state=seed
    )
    targets = np.eye(3, dtype=np.int64)[labels]
    targets[::7, 1] = -1
    return features, targets


# The machines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [0.01, 1.0, 30.0])
def test_each_machine_minimises_the_squared_hinge(cost: float) -> None:
    """The gradient of the published objective, written down, is zero at what comes out."""
    features, targets = problem()
    svms = train_svms(features, targets, SVMSettings(costs=[cost], **PRECISE))
    assert svms.costs == (cost,) * 3
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-5)
    for k in range(3):
        counted = targets[:, k] >= 0
        x = np.hstack([unit[counted], np.ones((counted.sum(), 1))])
        y = np.where(targets[counted, k] == 1, 1.0, -1.0)
        w = np.append(svms.weights[k], svms.biases[k])
        slack = np.maximum(0, 1 - y * (x @ w)) * cost * np.where(y > 0, 2, 1)
        assert np.abs(w - 2 * (slack * y) @ x).max() < 1e-4 * max(1, np.abs(w).max())


def test_costs_and_scores_are_those_of_the_released_protocol() -> None:
    """Goyal et al.'s steps, one after the other, with the dual solver that they take."""
    features, targets = problem(1, 60)
    targets = np.abs(targets)
    costs = [0.5**4, 1e-3, 0.1, 1.0, 10.0]
    settings = SVMSettings(costs=costs, **PRECISE)
    svms = train_svms(features, targets, settings)
    unit = features / (np.linalg.norm(features, axis=1) + 1e-5)[:, None]
    for k in range(3):
        y = np.where(targets[:, k] == 1, 1, -1)
        found = []
        for cost in costs:
            machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, tol=1e-9, max_iter=200_000)
            scores = []
            for train, test in StratifiedKFold(3).split(unit, y):
                machine.fit(unit[train], y[train])
                held_out = machine.decision_function(unit[test])
                scores.append(average_precision_score(y[test] > 0, held_out))
            found.append(np.mean(scores))
        assert svms.costs[k] == costs[int(np.argmax(found))]
        assert svms.validated[k] == pytest.approx(max(found), abs=1e-6)
        machine = LinearSVC(C=svms.costs[k], class_weight={1: 2, -1: 1}, tol=1e-9, max_iter=200_000)
        expected = machine.fit(unit, y).decision_function(unit)
        assert svms.scores(features)[:, k] == pytest.approx(expected, abs=1e-4)


def test_the_costs_are_the_published_ones() -> None:
    assert SVMSettings().costs == COSTS
    assert sorted(COSTS) == sorted(
        [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, *(0.5**n for n in range(4, 20))]
    )


def test_images_left_out_of_a_class_play_no_part_in_it() -> None:
    features, targets = problem()
    settings = SVMSettings(costs=[0.1, 1.0])
    svms = train_svms(features, targets, settings)
    changed = features.copy()
    changed[::7] = 100.0
    others = train_svms(changed, targets, settings)
    assert np.array_equal(svms.weights[1], others.weights[1])
    assert not np.array_equal(svms.weights[0], others.weights[0])


def test_length_does_not_matter() -> None:
    features, targets = problem()
    lengths = np.random.default_rng(0).uniform(1e3, 1e4, (len(features), 1))
    settings = SVMSettings(costs=[1.0], **PRECISE)
    one = train_svms(1e3 * features, targets, settings)
    other = train_svms(lengths * features, targets, settings)
    assert one.weights == pytest.approx(other.weights, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"costs": []}, "give numbers above 0"),
        ({"costs": [1.0, -1.0]}, "give numbers above 0"),
        ({"folds": 1}, "folds=1; use a whole number from 2 on"),
        ({"folds": 3.0}, "folds=3.0"),
        ({"positive_weight": 0}, "positive_weight=0"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"iterations": 0}, "iterations=0"),
        ({"jobs": 0}, "jobs=0; use a number from 1 on, or -1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SVMSettings(**settings)


def test_too_few_images_of_a_class_and_broken_features_are_said() -> None:
    features, targets = problem()
    targets[:, 2] = 0
    targets[:2, 2] = 1
    with pytest.raises(LTHError, match="dog has 2 images to train with and 78 others"):
        train_svms(features, targets, SVMSettings(), ["cat", "cow", "dog"])
    features[3, 3] = np.nan
    with pytest.raises(LTHError, match="not all finite"):
        train_svms(features, targets)


# The loop, on digits ------------------------------------------------------------------------------

FEW = ["test_cfg.train_dataloader.dataset.indices=200", "test_dataloader.dataset.indices=100"]


def digits_backbone() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    network = ResNet(18, stem_channels=16, base_channels=16, zero_init_residual=False)
    network.init_weights()
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def digits_config(**settings: Any) -> Config:
    cfg = load_config(str(CONFIGS / "svm_digits.py"))
    cfg.test_cfg.train_dataloader.dataset.indices = 200
    cfg.test_dataloader.dataset.indices = 100
    cfg.test_cfg.update(costs=[1.0], **settings)
    cfg.log_level = "ERROR"
    return cfg


def evaluate(cfg: Config, checkpoint: Path, work_dir: Path) -> tuple[Any, dict[str, float]]:
    cfg.load_from, cfg.work_dir = str(checkpoint), str(work_dir)
    runner = LTHRunner.from_cfg(cfg)
    metrics = runner.test()
    assert isinstance(runner.test_loop, LinearSVMLoop)
    return runner, metrics


def test_accuracy_is_that_of_features_and_machines_by_hand(tmp_path: Path) -> None:
    backbone = digits_backbone()
    torch.save({"state_dict": under("backbone.", backbone)}, tmp_path / "a.pth")
    runner, metrics = evaluate(digits_config(), tmp_path / "a.pth", tmp_path)
    network = ResNet(18, stem_channels=16, base_channels=16, out_indices=(3,))
    network.load_state_dict(backbone)
    network.eval()
    data: dict[str, list[Any]] = {}
    loop = runner.test_loop
    for split, loader in (("train", loop.train_dataloader), ("test", loop.dataloader)):
        items = [loader.dataset[index] for index in range(len(loader.dataset))]
        images = (torch.stack([item["inputs"] for item in items]).float() - 127.5) / 64
        with torch.no_grad():
            features = network(images)[0].mean((2, 3)).double().numpy()
        features /= np.linalg.norm(features, axis=1, keepdims=True) + 1e-5
        data[split] = [features, np.array([int(item["data_samples"].gt_label) for item in items])]
    scores = []
    for k in range(10):
        machine = LinearSVC(C=1.0, class_weight={True: 2, False: 1}, dual=False)
        machine.fit(data["train"][0], data["train"][1] == k)
        scores.append(machine.decision_function(data["test"][0]))
    right = np.argmax(scores, 0) == data["test"][1]
    assert metrics["accuracy/top1"] == pytest.approx(100 * right.mean(), abs=1e-4)
    assert 50 < metrics["accuracy/top1"] < 100


def test_every_kind_of_checkpoint_gives_its_backbones_features(tmp_path: Path) -> None:
    backbone = digits_backbone()
    other = {name: tensor + 1 for name, tensor in backbone.items()}
    masks = lth.MaskSet({name: backbone[name] != 0 for name in ("layer1.0.conv1.weight",)})
    torch.save({"state_dict": under("backbone.", backbone)}, tmp_path / "classifier.pth")
    moco = under("module.encoder_q.", backbone) | under("module.encoder_k.", other)
    torch.save({"state_dict": moco}, tmp_path / "moco.pth.tar")
    head = {"fc.weight": torch.zeros(10, 128), "fc.bias": torch.zeros(10)}
    torch.save(backbone | head, tmp_path / "torchvision.pth")
    lth.Ticket(masks, backbone).save(tmp_path / "ticket.safetensors")
    found = {}
    for name in ("classifier.pth", "moco.pth.tar", "torchvision.pth", "ticket.safetensors"):
        runner, metrics = evaluate(digits_config(), tmp_path / name, tmp_path / "work")
        state = runner.model.backbone.state_dict()
        assert all(torch.equal(state[key], tensor) for key, tensor in backbone.items())
        found[name] = metrics["accuracy/top1"]
    assert len(set(found.values())) == 1


def test_a_checkpoint_without_all_of_the_backbone_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = digits_backbone()
    del backbone["layer4.0.bn1.bias"]
    torch.save(backbone, tmp_path / "part.pth")
    arguments = [str(CONFIGS / "svm_digits.py"), str(tmp_path / "part.pth")]
    options = ["--work-dir", str(tmp_path / "work"), "--cfg-options", "log_level=ERROR", *FEW]
    assert main(["test", *arguments, *options]) == 2
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert len(errors) == 1
    assert "layer4.0.bn1.bias is missing" in errors[0]


def test_numbers_go_into_the_file_of_results_with_level_and_sparsity(tmp_path: Path) -> None:
    backbone = digits_backbone()
    mask = torch.rand(backbone["layer4.0.conv1.weight"].shape) < 0.5
    masks = lth.MaskSet({"layer4.0.conv1.weight": mask})
    backbone["layer4.0.conv1.weight"] *= mask
    packed = {name: torch.from_numpy(lth.masks.pack_bits(m)) for name, m in masks.items()}
    level = tmp_path / "rotnet/level_03"
    level.mkdir(parents=True)
    state = {"state_dict": under("backbone.", backbone), "lth": {"masks": packed}}
    torch.save(state, level / "epoch_1.pth")
    torch.save({"state_dict": under("backbone.", backbone)}, tmp_path / "dense.pth")
    for _ in range(2):  # told once
        _, metrics = evaluate(digits_config(), level / "epoch_1.pth", tmp_path / "work")
    evaluate(digits_config(), tmp_path / "dense.pth", tmp_path / "work")
    lines = (tmp_path / "work/results.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert first["task"] == second["task"] == "Digits linear SVM"
    assert (first["weights"], first["mask"], first["level"]) == ("rotnet", "imp rotnet", 3)
    assert first["sparsity"] == pytest.approx(masks.sparsity)
    assert first["value"] == metrics["accuracy/top1"]
    assert (second["weights"], second["mask"], second["sparsity"]) == ("dense", "dense", 0)


@pytest.mark.long
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    torch.save(digits_backbone(), tmp_path / "a.pth")
    cfg = digits_config()
    cfg.test_cfg.train_dataloader.dataset.indices = 201  # which cannot be dealt out evenly
    cfg.dump(tmp_path / "two.py")
    _, metrics = evaluate(cfg, tmp_path / "a.pth", tmp_path / "one")
    script = str(CONFIGS.parents[1] / "tools/dist_test.sh")
    done = subprocess.run(
        ["bash", script, "two.py", "a.pth", "2", "--work-dir", "two"],
        env=os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (tmp_path / "two/results.jsonl").read_text().splitlines()
    assert json.loads(line)["value"] == metrics["accuracy/top1"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"difficult": "positive"}, "choose from negative, left_out"),
        ({"cost": 1}, "there are costs"),
    ],
)
def test_wrong_settings_of_the_loop_are_refused(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    torch.save(digits_backbone(), tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=said):
        evaluate(digits_config(**settings), tmp_path / "a.pth", tmp_path)


# The loop, on VOC 2007 ----------------------------------------------------------------------------


def voc_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Config:
    monkeypatch.setenv("LTH_DATA_ROOT", str(make_voc07(tmp_path / "data")))
    cfg = load_config(str(CONFIGS / "voc07/svm_resnet50.py"))
    assert cfg.test_cfg.train_dataloader.dataset.split == "trainval"
    assert cfg.test_dataloader.dataset.split == "test"
    assert cfg.test_cfg.train_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    assert "costs" not in cfg.test_cfg  # the published ones
    for loader in (cfg.test_cfg.train_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.pipeline[1].scale = 36
        loader.dataset.pipeline[2].scale = (32, 32)
    cfg.model.backbone.update(stem_channels=WIDTH, base_channels=WIDTH)
    cfg.test_cfg.update(costs=[1.0, 10.0], jobs=1, **settings)
    cfg.log_level = "ERROR"
    return cfg


@pytest.mark.parametrize(
    "difficult", [pytest.param("negative", marks=pytest.mark.long), "left_out"]
)
def test_mean_average_precision_on_voc(
    difficult: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": under("backbone.", narrow_backbone())}, tmp_path / "a.pth")
    cfg = voc_config(tmp_path, monkeypatch, difficult=difficult)
    seen = []
    original = VOCClassificationAP.compute_metrics
    monkeypatch.setattr(
        VOCClassificationAP,
        "compute_metrics",
        lambda self, results: seen.extend(results) or original(self, results),
    )
    runner, metrics = evaluate(cfg, tmp_path / "a.pth", tmp_path / "work")
    assert metrics["voc/mAP"] >= metrics["voc/mAP_plain"] > 20  # 20 classes: by chance about 6
    truth = torch.stack([each["gt_score"] for each in seen])
    classes = runner.test_dataloader.dataset.metainfo["classes"]
    for index, row in enumerate(truth[:80]):
        plain = {name for name, hard in objects_of(index) if not hard}
        unsure = {name for name, hard in objects_of(index) if hard} - plain
        expected = [1 if c in plain else -1 if c in unsure else 0 for c in classes]
        assert row.tolist() == expected
    assert truth[80:].tolist() == [[-1, 0] + [0] * 18, [0, -1] + [0] * 18]
    scores = torch.stack([each["pred_score"] for each in seen])
    plain_mean = AveragePrecision.calculate(scores, truth).item()
    assert metrics["voc/mAP_plain"] == pytest.approx(plain_mean, rel=1e-4)
    targets = torch.stack(
        [runner.test_loop._target(runner.test_loop.train_dataloader.dataset[i]["data_samples"])
         for i in range(82)]
    )  # fmt: skip
    assert bool((targets == -1).any()) == (difficult == "left_out")
