"""The command lines, as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core import results
from lth_core.cli import main
from lth_core.openmmlab.models import load_trained
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


def make_testable(config: Path) -> dict[str, torch.Tensor]:
    """Gives the config a test; what a checkpoint of its model has to hold."""
    from .toy import ToyClassifier

    cfg = Config.fromfile(str(config))
    cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = (
        cfg.val_dataloader,
        cfg.val_evaluator,
        {},
    )
    cfg.dump(str(config))
    return ToyClassifier().state_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head.weight": None}, "head.weight is missing"),
        ({"head.weight": torch.zeros(9, 16)}, "head.weight is (9, 16), not (4, 16)"),
        ({"head.bias": None, "head.weight": torch.zeros(0)}, "is (0), not (4, 16), head.bias is"),
    ],
)
def test_a_checkpoint_of_another_model_is_not_tested(
    changes: dict[str, torch.Tensor | None], said: str, config: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """mmengine warns, and gives the accuracy of random numbers."""
    state = make_testable(config) | changes
    torch.save(
        {"state_dict": {n: t for n, t in state.items() if t is not None}}, tmp_path / "x.pth"
    )
    assert main(["test", str(config), str(tmp_path / "x.pth")]) == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_checkpoint_with_more_than_the_model_is_tested(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = make_testable(config)
    del state["backbone.bn1.num_batches_tracked"]  # as old files
    found = []
    for name, more in (("plain", {}), ("more", {"teacher.weight": torch.zeros(1)})):
        torch.save({"state_dict": state | more}, tmp_path / f"{name}.pth")
        assert main(["test", str(config), str(tmp_path / f"{name}.pth"), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["metrics"])
    assert found[0] == found[1]


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04" + bytes(99), bytes(5000), None])
def test_a_file_that_is_no_checkpoint_is_one_line(
    content: bytes | None, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.pth"
    torch.save({"state_dict": make_testable(config)}, file)
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    for arguments in (
        ["test", config, file],
        ["train", config, "--cfg-options", f"load_from={file}"],
        ["train", config, "--resume", file],
    ):
        assert main([str(word) for word in arguments]) == 2
        *_, line = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert "x.pth cannot be read as a checkpoint" in line


def test_names_that_the_model_itself_translates_are_no_misfit(tmp_path: Path) -> None:
    from mmengine.runner import load_checkpoint

    class Renamed(torch.nn.Linear):
        def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
            state[f"{prefix}weight"] = state.pop(f"{prefix}kernel").T
            super()._load_from_state_dict(state, prefix, *args)

    model = torch.nn.Sequential(Renamed(2, 3))
    wanted = torch.randn(2, 3)
    torch.save({"0.kernel": wanted, "0.bias": torch.zeros(3)}, tmp_path / "x.pth")
    load_trained(partial(load_checkpoint, model), str(tmp_path / "x.pth"))
    assert torch.equal(model[0].weight, wanted.T)


def test_what_has_been_trained_is_tested_not_what_it_started_from(
    config: Path, tmp_path: Path
) -> None:
    from lth_core.openmmlab import LTHRunner

    torch.save({"state_dict": make_testable(config)}, tmp_path / "start.pth")
    cfg = Config.fromfile(str(config))
    cfg.load_from = str(tmp_path / "start.pth")
    runner = LTHRunner.from_cfg(cfg)
    runner.train()
    before = {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}
    runner.test()
    after = runner.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
