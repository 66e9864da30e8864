"""The README's commands and code, run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from det.toy_voc import make_voc

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.M | re.S)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]

# Makes the README's training small; everything else of its command stays as it is written.
SMALL = (
    "train_cfg.max_epochs=1 model.data_preprocessor.pad_size_divisor=32 "
    "train_dataloader.batch_size=1 train_dataloader.num_workers=0 "
    "train_dataloader.persistent_workers=False train_dataloader.dataset.times=1 "
    "train_dataloader.dataset.dataset.datasets.0.pipeline.2.scale=(64,64) "
    "train_dataloader.dataset.dataset.datasets.1.pipeline.2.scale=(64,64) "
    "val_dataloader.num_workers=0 val_dataloader.persistent_workers=False "
    "val_dataloader.dataset.pipeline.1.scale=(64,64) "
    "test_dataloader.num_workers=0 test_dataloader.persistent_workers=False "
    "test_dataloader.dataset.pipeline.1.scale=(64,64)"
)
SMALL_IMP = "imp.rounds=1 train_cfg.max_epochs=1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the README takes for granted."""
    place = tmp_path_factory.mktemp("readme")
    torch.manual_seed(0)
    backbone = torchvision.models.resnet50().state_dict()
    moco = {f"module.encoder_q.{name}": tensor for name, tensor in backbone.items()}
    torch.save({"state_dict": moco}, place / "moco_v2_800ep_pretrain.pth.tar")
    make_voc(place / "data", images=2)
    for kind, text in BLOCKS:
        name = re.match(r"# (\w+\.py)\n", text)
        if kind == "python" and name:
            (place / name[1]).write_text(text)
    return place


def run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{shlex.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done


def test_every_command_is_known() -> None:
    kinds = {command.split()[0] for command in COMMANDS}
    assert kinds == {"make", "lth", "pip"}


def test_make_targets_exist() -> None:
    targets = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert targets == ["demo", "test"]
    make = shutil.which("make")
    assert make is not None
    for target in [*targets, "test-long", "lint", "help"]:
        run([make, "-C", str(ROOT), "--dry-run", target], ROOT)


def test_packages_to_install_exist() -> None:
    for command in COMMANDS:
        if command.startswith("pip install "):
            assert (ROOT / command.split()[2] / "pyproject.toml").is_file()


def test_lth_commands_in_their_order(place: Path) -> None:
    commands = [shlex.split(command) for command in COMMANDS if command.startswith("lth ")]
    assert len(commands) == 6
    for command in commands:
        if command[1] == "test":
            command[3] = command[3].replace("epoch_4", "epoch_1")
        if command[1] in ("train", "test"):
            small = SMALL_IMP if command[2] == "find_tickets.py" else SMALL
            options = shlex.split(small)
            command += options if "--cfg-options" in command else ["--cfg-options", *options]
        run(command, place)
    levels = sorted((place / "work_dirs/find_tickets").glob("level_*/ticket.safetensors"))
    assert len(levels) == 2


def test_plain_pytorch(place: Path) -> None:
    code = next(text for kind, text in BLOCKS if kind == "python" and "lth.attach" in text)
    run([sys.executable, "-c", code], place)
    assert (place / "my_ticket.safetensors").is_file()
