"""SA-best and RA-best weights, each tested for both: against closed forms of linear models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lth_cls.best_epoch import ROBUST_RESULT
from lth_core import results
from lth_core.errors import ConfigError
from lth_core.openmmlab import LTHRunner
from mmengine.config import Config

from .linear import EPS, config, exact_accuracy, trained

EPOCHS, VAL, TEST = 5, 40, 60
NAMES = ["sa_best/SA", "sa_best/RA", "ra_best/SA", "ra_best/RA"]


def training(work_dir: Path, **changes: Any) -> Config:
    cfg = trained(config(work_dir, {"pgd-20": "pgd-20"}, number=VAL), EPOCHS, 0.3)
    cfg.test_dataloader = {**cfg.test_dataloader}
    cfg.test_dataloader["dataset"] = {**cfg.test_dataloader["dataset"], "number": TEST}
    cfg.merge_from_dict(changes)
    return cfg


def exact(path: Path, number: int) -> tuple[float, float]:
    """SA and RA of a checkpoint."""
    state = torch.load(path, weights_only=True)["state_dict"]
    weight, bias = state["head.fc.weight"], state["head.fc.bias"]
    sa, ra = (exact_accuracy(weight, bias, number, 2, eps) for eps in (0, EPS))
    return sa, ra


def test_four_numbers_of_two_epochs(tmp_path: Path) -> None:
    runner = LTHRunner.from_cfg(training(tmp_path))
    runner.train()
    found = json.loads((tmp_path / ROBUST_RESULT).read_text())
    validated = [exact(tmp_path / f"epoch_{k + 1}.pth", VAL) for k in range(EPOCHS)]
    wanted = {}
    for kind, name in enumerate(("sa_best", "ra_best")):
        best = max(range(EPOCHS), key=lambda k, kind=kind: validated[k][kind])
        assert found[name]["epoch"] == best + 1
        assert found[name]["val"] == pytest.approx(validated[best][kind])
        sa, ra = exact(tmp_path / f"epoch_{best + 1}.pth", TEST)
        assert (found[name]["SA"], found[name]["RA"]) == pytest.approx((sa, ra))
        wanted |= {f"{name}/SA": sa, f"{name}/RA": ra}
    assert found["sa_best"]["epoch"] != found["ra_best"]["epoch"]
    assert len(set(wanted.values())) > 2
    stored = {each.metric: each.value for each in results.read([tmp_path])}
    assert {name: stored[name] for name in NAMES} == pytest.approx(wanted)
    assert stored["accuracy/top1/pgd-20"] == pytest.approx(validated[-1][1])  # of the last epoch
    last = torch.load(tmp_path / f"epoch_{EPOCHS}.pth", weights_only=True)["state_dict"]
    assert all(
        torch.equal(last[name], tensor) for name, tensor in runner.model.state_dict().items()
    )
    said = next(tmp_path.rglob("*.log")).read_text()
    assert f"sa_best weights, of epoch {found['sa_best']['epoch']} (accuracy/top1 " in said


class Stop(Exception):  # noqa: N818
    """Breaks a training off."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a training reports that nothing breaks off."""
    place = tmp_path_factory.mktemp("whole")
    LTHRunner.from_cfg(training(place)).train()
    return (place / ROBUST_RESULT).read_text()


@pytest.mark.parametrize("stop", [f"epoch_{EPOCHS - 1}.pth", None])
def test_a_broken_off_training_reports_the_same(
    stop: str | None, whole: str, tmp_path: Path
) -> None:
    runner = LTHRunner.from_cfg(training(tmp_path / "parts"))
    save = runner.save_checkpoint

    def broken(out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        save(out_dir, filename, *args, **kwargs)
        if filename == stop:
            raise Stop

    runner.save_checkpoint = broken
    if stop is None:  # killed while it was testing, after the last epoch
        runner.train()
        (tmp_path / "parts" / ROBUST_RESULT).unlink()
    else:
        with pytest.raises(Stop):
            runner.train()
    (tmp_path / "parts").rename(tmp_path / "moved")
    LTHRunner.from_cfg(training(tmp_path / "moved", resume=True)).train()
    assert (tmp_path / "moved" / ROBUST_RESULT).read_text() == whole


def test_epochs_before_the_first_validation_do_not_count(tmp_path: Path) -> None:
    # As in paper C's code, which evaluates CIFAR's epochs from the 46th on.
    LTHRunner.from_cfg(training(tmp_path, **{"train_cfg.val_begin": EPOCHS - 1})).train()
    found = json.loads((tmp_path / ROBUST_RESULT).read_text())
    assert {found[name]["epoch"] for name in found} <= {EPOCHS - 1, EPOCHS}


def test_in_a_chain_the_numbers_are_the_levels(tmp_path: Path) -> None:
    cfg = training(
        tmp_path, **{"model.backbone.type": "TwoConvolutions", "train_cfg.max_epochs": 2}
    )
    cfg.imp = {"rounds": 1, "rewind": "init"}
    LTHRunner.from_cfg(cfg).train()
    for level in ("level_00", "level_01"):
        metrics = json.loads((tmp_path / level / "metrics.json").read_text())["metrics"]
        own = json.loads((tmp_path / level / ROBUST_RESULT).read_text())
        assert [metrics[name] for name in NAMES] == [
            own[best][kind] for best in ("sa_best", "ra_best") for kind in ("SA", "RA")
        ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"default_hooks.checkpoint.save_best": "accuracy/top1"}, "save_best=['accuracy/top1', '"),
        ({"val_cfg.type": "ValLoop"}, "val_cfg has no attack 'pgd-20'"),
        ({"train_cfg.val_begin": EPOCHS + 1}, f"the first is at {EPOCHS + 1} of {EPOCHS}"),
    ],
)
def test_what_cannot_be_reported_is_said_before_training(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    cfg = training(tmp_path, **changes)
    if "val_cfg.type" in changes:
        cfg.val_cfg = {}
    with pytest.raises(ConfigError) as problem:
        LTHRunner.from_cfg(cfg).train()
    assert said in str(problem.value)
    assert not list(tmp_path.glob("epoch_*.pth"))
