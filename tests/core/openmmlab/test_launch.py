"""The command lines, as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import lth_core as lth
import pytest
import torch
from lth_core import results
from lth_core.cli import main
from mmengine.config import Config

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The toy config as a file that needs no import of its own."""
    from .toy import toy_config

    cfg = toy_config(tmp_path / "work")
    cfg.custom_imports = {"imports": ["core.openmmlab.toy"], "allow_failed_imports": False}
    path = tmp_path / "toy_config.py"
    cfg.dump(str(path))
    return path


def failure(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Runs a training that must fail as a user's error; returns its one line."""
    assert main(["train", *map(str, argv)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    return error


def test_wrong_input_is_one_line_and_leaves_nothing(
    config: Path, ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    before = set(tmp_path.rglob("*"))
    options = (config, "--cfg-options")
    assert "does not exist" in failure(capsys, "nowhere.py")
    assert "did you mean 'path'" in failure(capsys, *options, "ticket.pth=x")
    missing = failure(capsys, *options, "ticket.path=nowhere.safetensors")
    assert "nowhere.safetensors does not exist" in missing
    assert "lth ticket make" in missing
    # Of several things that are wrong, first the names: files may be missing because of them.
    both = ("ticket.path=nowhere.safetensors", "load_from=nowhere.pth")
    assert "did you mean 'weights'" in failure(capsys, *options, *both, "ticket.weigths=keep")
    assert "did you mean 'record'" in failure(capsys, *options, *both, "recrod.task=x")
    assert "'x' is not KEY=VALUE" in failure(capsys, *options, "x")
    assert "--cfg-options" in failure(capsys, *options, "x=[1,")
    assert "did you mean 'rounds'" in failure(capsys, *options, "imp.round=3")
    assert "--amp needs a GPU" in failure(capsys, config, "--amp") or torch.cuda.is_available()
    assert "base_batch_size" in failure(capsys, config, "--auto-scale-lr")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(ticket.read_bytes()[:-1])
    assert "damaged" in failure(capsys, *options, f"ticket.path={damaged}")
    data = (f"ticket.path={ticket}", f"train_dataloader.dataset.data_root={tmp_path}/empty")
    assert "LTH_DATA_ROOT" in failure(capsys, *options, *data)
    damaged.unlink()
    assert set(tmp_path.rglob("*")) == before
    assert not work.exists()


def test_a_config_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("_base_ = ['./nowhere.py']\n")
    assert "cannot be read" in failure(capsys, broken)
    broken.write_text("model = dict(\n")
    assert "cannot be read" in failure(capsys, broken)


def test_train_then_test(
    config: Path, ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(config), "--cfg-options", f"ticket.path={ticket}"]
    assert main(["train", *argv]) == 0
    checkpoint = tmp_path / "work" / "epoch_2.pth"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    masks = lth.Ticket.load(ticket).masks
    assert all(bool((state["backbone." + n][~m] == 0).all()) for n, m in masks.items())
    capsys.readouterr()
    assert main(["test", *argv[:1], str(checkpoint)]) == 2
    assert "test_dataloader is missing" in capsys.readouterr().err
    cfg = Config.fromfile(argv[0])
    for name in ("dataloader", "cfg", "evaluator"):
        cfg[f"test_{name}"] = cfg[f"val_{name}"]
    cfg.dump(argv[0])
    assert main(["test", *argv[:1], str(checkpoint), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["config"], found["checkpoint"]) == (argv[0], str(checkpoint))
    logged = next(path for path in sorted((tmp_path / "work").glob("*/*.json"), reverse=True))
    assert found["metrics"]["accuracy"] == json.loads(logged.read_text())["accuracy"]
    assert main(["test", *argv[:1], str(tmp_path / "nowhere.pth")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("weights", ["keep", "reinit"])
def test_words_for_weights_are_no_files(weights: str, config: Path, ticket: Path) -> None:
    options = [f"ticket.path={ticket}", f"ticket.weights={weights}", "train_cfg.max_epochs=1"]
    assert main(["train", str(config), "--cfg-options", *options]) == 0


@pytest.mark.parametrize("imp", [False, True])
def test_two_processes_without_a_gpu(imp: bool, config: Path, ticket: Path, tmp_path: Path) -> None:
    settings = ["imp.rounds=1", "imp.rewind=init"] if imp else [f"ticket.path={ticket}"]
    cfg = Config.fromfile(config)
    cfg.custom_imports.imports.append("core.openmmlab.threads_left")
    cfg.dump(str(config))
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [ROOT / "tools/dist_train.sh", config, "2", "--cfg-options", *settings],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("threads of gloo: 0") == 2  # one would abort the process now and then
    work = tmp_path / "work"
    # Each level of the chain, or the ticket's training, once: by one of the two processes.
    levels = [line.level for line in results.read_file(work / "results.jsonl")]
    assert levels == ([0, 1] if imp else [1])
    (shown,) = (work / "level_01" if imp else work).glob("*/vis_data/scalars.json")
    assert shown.read_text().count('"sparsity/conv2"') == 2  # at the start and at the end
    if imp:
        one = lth.Ticket.load(work / "level_01" / "ticket.safetensors")
        assert one.masks.kept == one.masks.total - round(0.2 * one.masks.total)
        work = work / "level_01"
        masks = one.masks
    else:
        masks = lth.Ticket.load(ticket).masks
    state = torch.load(work / "epoch_2.pth", weights_only=True)["state_dict"]
    assert all(bool((state["backbone." + n][~m] == 0).all()) for n, m in masks.items())


def test_help_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    with pytest.raises(SystemExit) as left:
        main(["trian"])
    assert left.value.code == 2
    assert "trian" in capsys.readouterr().err
