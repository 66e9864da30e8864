"""docs/new-task.md: every file and command in it, at small size."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import lth_core as lth
import numpy as np
import pytest
import torch
from det.toy_voc import make_voc
from lth_core.cli import main as lth_command

from .openmmlab_runs import LOADERS, NARROW, OUT, check_exact, make_weights

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "new-task.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOC, flags=re.M | re.S)
FILES = {
    match[1]: text
    for kind, text in BLOCKS
    if kind == "python" and (match := re.match(r"# (\w+)\.py\n", text))
}
COMMANDS = [
    shlex.split(line)
    for kind, text in BLOCKS
    if kind == "bash"
    for line in text.replace("\\\n", "").splitlines()
]
IMAGES = 4


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8))


def make_birds(data: Path) -> None:
    """Annotations as COCO's with two classes, whose numbers do not begin at 1."""
    categories = [{"id": 3, "name": "gull"}, {"id": 7, "name": "owl"}]
    for split in ("train", "val"):
        images, boxes = [], []
        for index in range(IMAGES):
            picture(data / "birds" / split / f"{index}.jpg", index)
            images.append({"id": index, "file_name": f"{index}.jpg", "width": 96, "height": 64})
            box = {"bbox": [5, 7, 40, 43], "area": 1720, "iscrowd": 0, "image_id": index}
            boxes += [box | {"id": len(boxes) + k, "category_id": c} for k, c in ((1, 3), (2, 7))]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (data / "birds" / f"{split}.json").write_text(json.dumps(content))


def make_pets(data: Path) -> None:
    make_voc(data, images=IMAGES)
    (data / "VOCdevkit" / "VOC2007").rename(data / "pets")


def make_fields(data: Path) -> None:
    for split in ("train", "val"):
        for index in range(IMAGES):
            picture(data / "fields" / "images" / split / f"{index}.jpg", index)
            labels = np.zeros((64, 96), np.uint8)
            labels[10:40, 10:40], labels[30:60, 50:90], labels[30:32, 50:90] = 1, 2, 255
            path = data / "fields" / "labels" / split / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), labels)


def make_leaves(data: Path) -> None:
    for split in ("train", "val"):
        for index in range(6):
            picture(data / "leaves" / split / f"kind_{index}" / "0.png", index)


PIPELINES = ("train_dataloader.dataset.pipeline", "val_dataloader.dataset.pipeline")
FPN = [f"model.neck.in_channels={OUT}".replace(" ", ""), "model.neck.out_channels=16"]
RESIZES = [
    f"{PIPELINES[0]}.2.scale=(96,64)",
    f"{PIPELINES[1]}.1.scale=(96,64)",
    "test_dataloader.dataset.pipeline.1.scale=(96,64)",
]
TASKS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "birds": (
        make_birds,
        [
            *FPN,
            *RESIZES,
            "model.rpn_head.in_channels=16",
            "model.rpn_head.feat_channels=16",
            "model.roi_head.bbox_roi_extractor.out_channels=16",
            "model.roi_head.bbox_head.in_channels=16",
            "model.roi_head.bbox_head.fc_out_channels=16",
            "train_cfg.max_epochs=1",
        ],
    ),
    "pets": (
        make_pets,
        [
            *FPN,
            *RESIZES,
            "model.bbox_head.in_channels=16",
            "model.bbox_head.feat_channels=16",
            "train_cfg.max_epochs=1",
        ],
    ),
    "fields": (
        make_fields,
        [
            f"{PIPELINES[0]}.2.scale=(96,96)",
            f"{PIPELINES[0]}.3.crop_size=(65,65)",
            "model.data_preprocessor.size=(65,65)",
            f"model.decode_head.in_channels={OUT[3]}",
            f"model.decode_head.c1_in_channels={OUT[0]}",
            "model.decode_head.c1_channels=8",
            "model.decode_head.channels=16",
            "train_cfg.max_iters=2",
            "train_cfg.val_interval=2",
            "default_hooks.checkpoint.interval=2",
        ],
    ),
    "leaves": (
        make_leaves,
        [
            f"model.head.in_channels={OUT[3]}",
            f"{PIPELINES[0]}.1.scale=32",
            f"{PIPELINES[1]}.1.scale=36",
            f"{PIPELINES[1]}.2.crop_size=32",
            "train_cfg.max_epochs=1",
        ],
    ),
}


def run(command: list[str], options: list[str]) -> None:
    """Runs a command of the document, made small where it trains or tests."""
    assert command[0] == "lth"
    if command[1] in ("train", "test"):
        small = [*NARROW, *LOADERS, *options]
        command = command + (small if "--cfg-options" in command else ["--cfg-options", *small])
    assert lth_command(command[1:]) == 0, command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the tickets that the document makes, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for variable in ("LTH_DATA_ROOT", "LTH_TICKETS", "LTH_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    make_weights(tmp_path, "weights/moco_v2_800ep_pretrain.pth.tar")
    for command in COMMANDS:
        if command[1:3] == ["ticket", "make"]:
            run(command, [])
    return tmp_path


def test_all_of_the_document_is_run_here() -> None:
    assert set(FILES) == set(TASKS)
    assert all(len(text.splitlines()) <= 15 for text in FILES.values())
    assert all(command[0] == "lth" for command in COMMANDS)
    assert "docs/new-task.md" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_your_own(task: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, options = TASKS[task]
    make(place / "data")
    Path(f"{task}.py").write_text(FILES[task])
    run(next(c for c in COMMANDS if c[1] == "train" and c[2] == f"{task}.py"), options)
    masks = lth.Ticket.load("tickets/resnet50_mocov2_level10.safetensors").masks
    checkpoint = max(Path("work_dirs", task).glob("*.pth"))
    check_exact(checkpoint, masks)
    log = next(Path("work_dirs", task).glob("*/*.log")).read_text()
    assert "masked 52 weights at backbone, sparsity 89.26 %; loaded 318 tensors" in log
    classes = torch.load(checkpoint, weights_only=True)["meta"]["dataset_meta"]["classes"]
    assert len(classes) == {"fields": 3, "leaves": 6}.get(task, 2)


@pytest.mark.long
def test_controls_and_what_follows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, options = TASKS["birds"]
    make(place / "data")
    Path("birds.py").write_text(FILES["birds"])
    ticket = lth.Ticket.load("tickets/resnet50_mocov2_level10.safetensors")
    for command in COMMANDS:
        if command[1:3] == ["ticket", "make"] or command[2] in (
            "pets.py",
            "fields.py",
            "leaves.py",
        ):
            continue
        if command[1] == "ticket":  # the config as it was run, with the small options in it
            work = "work_dirs/birds/birds.py"
            command = [*command[:-5], "--config", work, "--shape", "64", "96"]
        command = [word.replace("epoch_12", "epoch_1") for word in command]
        run(command, [*options, *(["imp.rounds=1"] if "imp.preset=paper-a" in command else [])])
    assert "backbone.layer4" in capsys.readouterr().out
    states = {
        name: torch.load(f"work_dirs/{name}/epoch_1.pth", weights_only=True)["state_dict"]
        for name in ("birds", "birds_dense", "birds_random")
    }
    kept = {
        name: sum(int(state[f"backbone.{n}"].count_nonzero()) for n in ticket.masks)
        for name, state in states.items()
    }
    assert kept["birds"] == kept["birds_random"] == ticket.masks.kept
    assert kept["birds_dense"] == ticket.masks.total
    found = lth.Ticket.load("work_dirs/birds_rounds/level_01/ticket.safetensors").masks
    assert found.kept == found.total - round(0.2 * found.total)
