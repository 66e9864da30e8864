"""AutoAttack and Square: exact on linear models, equal to the library, honest about less."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyautoattack
import pytest
import torch
from lth_cls.evaluation import robust_library
from lth_cls.evaluation.robust_attacks import Images, parse
from lth_cls.evaluation.victim import Victim, frozen
from lth_core.errors import ConfigError
from mmengine.config import Config
from mmpretrain.registry import MODELS

from .linear import EPS, PIXELS, SIDE, config, exact_accuracy, fitted, runner_with

SMALL = {"type": "AutoAttack", "steps": 10, "queries": 20}


def log(tmp_path: Path) -> str:
    return next(tmp_path.rglob("*.log")).read_text()


def test_of_ten_classes_it_finds_the_exact_accuracy_and_says_that_it_is_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robust_library, "PROGRESS_SECONDS", 0.0)
    weight, bias = fitted(60, 10)
    exact = exact_accuracy(weight, bias, 60, 10, EPS)
    assert 20 < exact < 80
    cfg = config(tmp_path, {"aa": SMALL}, classes=10, number=60)
    metrics = runner_with(cfg, weight, bias).test()
    assert metrics.pop("accuracy/top1/aa-reduced") == pytest.approx(exact)
    after = [metrics[f"accuracy/top1/aa-reduced-{each}"] for each in
             ("apgd-ce", "apgd-t", "fab-t", "square")]  # fmt: skip
    clean = metrics.pop("accuracy/top1")
    assert clean >= after[0] >= after[1] >= after[2] >= after[3] == pytest.approx(exact)
    assert len(metrics) == 4
    assert "aa-reduced: less than the standard set" in log(tmp_path)
    assert "aa-reduced: after fab-t " in log(tmp_path)


@pytest.mark.parametrize(
    ("classes", "attacks", "name"),
    [
        (2, ["apgd-ce", "fab-t", "square"], "aa-reduced"),
        (3, ["apgd-ce", "fab-t", "square"], "aa-reduced"),
        (4, ["apgd-ce", "apgd-t", "fab-t", "square"], "aa"),
    ],
)
def test_of_few_classes_all_wrong_ones_are_aimed_at(
    classes: int, attacks: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robust_library, "STEPS", 10)  # the standard set takes its time
    monkeypatch.setattr(robust_library, "QUERIES", 20)
    weight, bias = fitted(40, classes)
    metrics = runner_with(config(tmp_path, {"aa": SMALL}, classes=classes), weight, bias).test()
    exact = exact_accuracy(weight, bias, 40, classes, EPS)
    assert metrics[f"accuracy/top1/{name}"] == pytest.approx(exact)
    stages = [each.partition(f"/{name}-")[2] for each in metrics if f"/{name}-" in each]
    assert stages == attacks
    said = log(tmp_path)
    assert ("apgd-t needs 4 classes" in said) == (classes < 4)
    assert (f"all {classes - 1} wrong classes" in said) == (classes >= 4)


def victim(classes: int) -> Victim:
    """A small net with one hidden layer, of pictures with ``SIDE`` pixels a side."""
    torch.manual_seed(0)
    return Victim(
        MODELS.build(
            {
                "type": "mmpretrain.ImageClassifier",
                "backbone": {"type": "mmpretrain.Flat"},
                "head": {
                    "type": "mmpretrain.StackedLinearClsHead",
                    "num_classes": classes,
                    "in_channels": PIXELS,
                    "mid_channels": [32],
                },
                "data_preprocessor": {"type": "mmpretrain.ClsDataPreprocessor"},
            }
        )
    )


def pictures(model: Victim, number: int = 6) -> Images:
    """Random ones, labelled as the model sees them."""
    noise = torch.Generator().manual_seed(3)
    pixels = torch.rand(number, 3, SIDE, SIDE, generator=noise)
    with torch.no_grad():
        labels = model(pixels).argmax(1)
    return Images(pixels, labels, range(number), 0)


@pytest.mark.parametrize("attack", ["autoattack", "square"])
def test_it_does_what_the_library_does(attack: str) -> None:
    model = victim(12)
    images = pictures(model)
    eps = 0.004 if attack == "autoattack" else 0.03
    if attack == "autoattack":
        ours = parse("x", {"type": "AutoAttack", "eps": eps, "queries": 50}, Config())
        theirs: Any = {"version": "standard"}
    else:
        ours = parse("x", {"type": "Square", "eps": eps, "queries": 50}, Config())
        theirs = {"version": "custom", "attacks": ["square"]}
    library = pyautoattack.AutoAttack(model, eps=eps, norm="Linf", seed=0, **theirs)
    library.square.n_queries = 50
    stream = torch.get_rng_state()
    trace = sys.gettrace()
    with torch.no_grad(), frozen(model.model):
        found = ours(model, images)["x-reduced"]
    assert torch.equal(stream, torch.get_rng_state())
    assert sys.gettrace() is trace
    with frozen(model.model):
        expected, _ = library.run_standard_evaluation(images.pixels, images.labels)
    kept = [(model(each).argmax(1) == images.labels).tolist() for each in (found, expected)]
    assert 0 < sum(kept[1]) < len(images.labels)
    assert kept[0] == kept[1]
    assert (found - images.pixels).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    for kind in ("AutoAttack", "Square"):
        with pytest.raises(ConfigError, match=r"pip install \"lth-cls\[robust\]\"$"):
            parse("x", {"type": kind}, Config())


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ({"type": "AutoAttack", "attacks": ["apgd"]}, "choose from"),
        ({"type": "AutoAttack", "attacks": ["square", "square"]}, "choose from"),
        ({"type": "AutoAttack", "steps": 0}, "steps is 0"),
        ({"type": "AutoAttack", "epsilon": 0.1}, "did you mean 'eps'"),
        ({"type": "Square", "eps": 8}, "as 8/255"),
        ({"type": "Square", "queries": 10.5}, "queries is 10.5"),
    ],
)
def test_what_is_no_good_is_said(attack: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as problem:
        parse("x", attack, Config())
    assert said in str(problem.value)
    assert str(problem.value).startswith("attacks['x']: ")
