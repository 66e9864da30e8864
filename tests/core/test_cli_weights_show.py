"""``lth weights show``: how many weights training has brought to zero (paper B, Figs. 6, 10)."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import lth_core as lth
import numpy as np
import pytest
import torch
from lth_core.cli.main import main

from .helpers import Classifier, random_masks

EPSILON = 2.0**-23


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def write(path: str) -> dict[str, tuple[int, int, int]]:
    """A checkpoint with known zeros; returns weights, exact and near zeros of each layer."""
    torch.manual_seed(0)
    state = Classifier().state_dict()
    state["fc.weight"].zero_()
    state["bn1.weight"].zero_()
    for name in ("conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight"):
        state[name] = torch.where(state[name].abs() < 1e-3, 1.0, state[name])
    stem, first = state["conv1.weight"].view(-1), state["layer1.0.conv1.weight"].view(-1)
    stem[:5] = 0
    first[:3] = -EPSILON  # near: up to and including machine precision
    first[3] = 1.01 * EPSILON
    torch.save({"state_dict": state}, path)
    return {
        "conv1.weight": (108, 5, 5),
        "layer1.0.conv1.weight": (144, 0, 3),
        "layer1.0.conv2.weight": (144, 0, 0),
    }


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["weights", "show", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_zeros_are_counted_without_norms_and_head(capsys: pytest.CaptureFixture[str]) -> None:
    expected = write("net.pth")
    found = shown(capsys, "net.pth")
    assert [layer["name"] for layer in found["layers"]] == list(expected)
    for layer in found["layers"]:
        total, exact, near = expected[layer["name"]]
        assert layer["weights"] == total == np.prod(layer["shape"])
        assert layer["exactly_zero"] == pytest.approx(exact / total, abs=1e-12)
        assert layer["near_zero"] == pytest.approx(near / total, abs=1e-12)
    assert found["weights"] == 396
    assert found["exactly_zero"] == pytest.approx(5 / 396)
    assert found["near_zero"] == pytest.approx(8 / 396)
    assert shown(capsys, "net.pth", "--threshold", "1.25e-7")["near_zero"] == pytest.approx(9 / 396)


def test_the_table_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    write("net.pth")
    assert main(["weights", "show", "net.pth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (stem,) = (line for line in lines if " conv1.weight" in line)
    assert [cell.strip() for cell in stem.strip("│").split("│")] == [
        "conv1.weight", "4×3×3×3", "108", "4.63", "4.63",
    ]  # fmt: skip
    (total,) = (line for line in lines if line.startswith("│ all"))
    assert [cell.strip() for cell in total.strip("│").split("│")][2:] == ["396", "1.26", "2.02"]
    assert lines[-1] == "near zero: magnitude up to machine epsilon"


def test_a_tickets_pruned_weights_are_its_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    write("net.pth")
    model = Classifier()
    masks = random_masks(model, 0.3, stem=True)
    lth.Ticket(masks, lth.load_backbone("net.pth")).save("t.safetensors")
    zeros = shown(capsys, "t.safetensors")["layers"]
    for layer in zeros:
        assert layer["exactly_zero"] >= masks.layer_sparsity()[layer["name"]] - 1e-12


def test_linear_layers_of_a_backbone_count(capsys: pytest.CaptureFixture[str]) -> None:
    state = {
        "backbone.features.0.weight": torch.ones(2, 3, 3, 3),
        "backbone.classifier.1.weight": torch.zeros(4, 2),
        "backbone.classifier.1.bias": torch.zeros(4),
        "head.fc.weight": torch.zeros(5, 4),
    }
    torch.save({"state_dict": state}, "alexnet.pth")
    found = shown(capsys, "alexnet.pth")
    layers = {layer["name"]: layer["exactly_zero"] for layer in found["layers"]}
    assert list(layers) == ["features.0.weight", "classifier.1.weight"]
    assert layers == {"features.0.weight": 0, "classifier.1.weight": 1}


def test_layers_below_the_head_come_out_of_tickets_too() -> None:
    weights = {"features.0.weight": torch.ones(2, 3, 3, 3), "classifier.1.weight": torch.ones(4, 2)}
    masks = lth.MaskSet({name: tensor > 0 for name, tensor in weights.items()})
    lth.Ticket(masks, weights).save("t.safetensors")
    assert lth.load_backbone("t.safetensors").keys() == weights.keys()
    torch.save(weights, "torchvision.pth")  # whose last layer is among them
    assert list(lth.load_backbone("torchvision.pth")) == ["features.0.weight"]


def test_a_picture_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    write("net.pth")
    assert main(["weights", "show", "net.pth", "--plot", "sorted.svg"]) == 0
    assert ET.parse("sorted.svg").getroot().tag.endswith("svg")
    assert main(["weights", "show", "net.pth", "--plot", "sorted.png"]) == 0
    assert Path("sorted.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["net.pth", "--threshold", "-1"], "--threshold is -1.0; it must be 0 or more"),
        (["net.pth", "--threshold", "nan"], "--threshold is nan"),
        (["net.pth", "--plot", "sorted.gif"], "must end with .png or .svg"),
        (["net.pth", "--plot", "net.pth/sorted.png"], "cannot be written"),
        (["absent.pth"], "absent.pth do"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("net.pth")
    assert main(["weights", "show", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
