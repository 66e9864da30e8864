"""Accuracy under attack of linear models, of which it is known exactly; what stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lth_core.errors import ConfigError

from . import worker
from .linear import EPS, config, exact_accuracy, fitted, runner_with

TESTS = Path(__file__).parents[2]
PGD20 = {"pgd-20": "pgd-20"}


@pytest.mark.parametrize("kind", ["val", "test"])
def test_of_two_classes_pgd_finds_the_exact_accuracy(kind: str, tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    clean, robust = (exact_accuracy(weight, bias, 40, 2, eps) for eps in (0, EPS))
    assert clean > 90
    assert 10 < robust < clean - 10  # or the test could not tell much
    metrics = getattr(runner_with(config(tmp_path, PGD20), weight, bias), kind)()
    assert metrics["accuracy/top1"] == pytest.approx(clean)
    assert metrics["accuracy/top1/pgd-20"] == pytest.approx(robust)
    assert "of 40 images; still right: pgd-20" in next(tmp_path.rglob("*.log")).read_text()


def test_all_attacks_are_measured_each_under_its_own_name(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    attacks = {"small": {"preset": "pgd-20", "eps": 2 / 255}, "one step": "fast", **PGD20}
    metrics = runner_with(config(tmp_path, attacks), weight, bias).val()
    for name, eps in (("small", 2 / 255), ("pgd-20", EPS)):
        assert metrics[f"accuracy/top1/{name}"] == pytest.approx(
            exact_accuracy(weight, bias, 40, 2, eps)
        )
    assert metrics["accuracy/top1/one step"] >= metrics["accuracy/top1/pgd-20"]
    assert len(metrics) == 4


def weak(steps: int = 1) -> dict[str, Any]:
    """An attack that gets nowhere: what it comes to depends on where it starts."""
    return {"weak": {"type": "PGD", "eps": 0.15, "steps": steps, "step_size": 1e-9}}


def starts(tmp_path: Path, **settings: Any) -> list[torch.Tensor]:
    """Of two validations, how the inputs under the weak attack differ from the pictures' own."""
    weight, bias = fitted(40, 2)
    runner = runner_with(config(tmp_path, weak(), **settings), weight, bias)
    seen: list[torch.Tensor] = []
    predict = runner.model.predict

    def look(inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(inputs.clone())
        return predict(inputs, *args, **kwargs)

    runner.model.predict = look
    found = []
    for _ in range(2):
        seen.clear()
        runner.val()
        del seen[1]  # asked whether it decides by its scores
        found.append(torch.cat(seen[1::2]) - torch.cat(seen[0::2]))
    return found


def test_starts_are_the_same_in_each_validation_and_for_any_size_of_batches(
    tmp_path: Path,
) -> None:
    first, again = starts(tmp_path / "a")
    assert len(first) == 40
    assert torch.equal(first, again)
    other, _ = starts(tmp_path / "b", batch_size=7)
    assert torch.allclose(first, other, atol=1e-5)
    assert not torch.allclose(first[0], first[1], atol=0.01)  # pictures do not share a start
    assert first.abs().max() > 0.3  # 0.15 of 255, over a deviation of 50 to 70


def test_only_the_first_images_are_attacked(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    metrics = runner_with(config(tmp_path, PGD20, first=21), weight, bias).val()
    assert metrics["accuracy/top1"] == pytest.approx(exact_accuracy(weight, bias, 40, 2, 0))
    for name, eps in (("attacked", 0), ("pgd-20", EPS)):
        one = metrics[f"accuracy/top1/{name}"]
        assert one == pytest.approx(exact_accuracy(weight, bias, 40, 2, eps, first=21))


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "cls.robustness.worker", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    one = worker.metrics(tmp_path / "one")
    # The 25 pictures are dealt out alternately, 13 to each; of the first 11 each attacks 6.
    assert ranks[0] == ranks[1] == one
    assert 0 < one["accuracy/top1/pgd-20"] < one["accuracy/top1/attacked"]


def test_the_model_is_as_before(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    runner = runner_with(config(tmp_path, PGD20), weight, bias)
    runner.model.head.fc.bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}
    stream = torch.get_rng_state()
    runner.val()
    assert torch.equal(stream, torch.get_rng_state())
    for name, tensor in runner.model.state_dict().items():
        assert torch.equal(before[name], tensor)
    parameters = dict(runner.model.named_parameters())
    assert all(each.grad is None for each in parameters.values())
    wanted = {name for name, each in parameters.items() if each.requires_grad}
    assert wanted == {"head.fc.weight"}


def test_in_bfloat16_the_accuracy_is_about_the_same(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    metrics = runner_with(config(tmp_path, PGD20, bf16=True), weight, bias).val()
    for name, eps in (("accuracy/top1", 0), ("accuracy/top1/pgd-20", EPS)):
        assert metrics[name] == pytest.approx(exact_accuracy(weight, bias, 40, 2, eps), abs=5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_cfg.attacks": {}}, "attacks is {}"),
        ({"val_cfg.attacks": {"x": "pgd-30"}}, "attacks['x']: "),
        ({"val_cfg.attacks": {"a/b": "pgd-20"}}, "'a/b' is no name"),
        ({"val_cfg.attacks": {"x": {"type": "PGD", "epsilon": 1}}}, "has no field 'epsilon'"),
        ({"val_cfg.first": 0}, "first is 0"),
        ({"val_cfg.fp16": True, "val_cfg.bf16": True}, "choose one"),
        ({"val_dataloader.sampler.shuffle": True}, "sampler.shuffle=False"),
    ],
)
def test_what_is_no_good_is_said(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    cfg = config(tmp_path, PGD20)
    cfg.merge_from_dict(changes)
    if "val_cfg.attacks" in changes:
        cfg.val_cfg.attacks = changes["val_cfg.attacks"]
    runner = runner_with(cfg, *fitted(40, 2))
    with pytest.raises(ConfigError) as problem:
        runner.val()
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)
