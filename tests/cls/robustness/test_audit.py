"""The audit tells robust models, models that are not, and masked gradients apart."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lth_cls.evaluation.signs import Accuracies, signs, verdict
from lth_core import results
from lth_core.cli import main
from lth_core.errors import CheckpointError, ConfigError
from lth_core.results import AUDIT
from mmpretrain.registry import MODELS

from .linear import EPS, Flat, config, exact_accuracy, fitted, runner_with

SMALL = {"many_steps": 40, "restarts": 2, "queries": 300}


@MODELS.register_module()
class Quantised(Flat):
    """Sees pixels in 32 steps, whose slope is zero everywhere."""

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return super().forward((inputs * 8).round() / 8)


def audit(tmp_path: Path, scale: float = 1.0, backbone: str = "Flat", **settings: Any) -> Any:
    weight, bias = fitted(40, 2)
    cfg = config(tmp_path, {"pgd-20": "pgd-20"})
    cfg.model.backbone.type = backbone
    cfg.test_cfg = {"type": "RobustAuditLoop", **SMALL, **settings}
    runner_with(cfg, scale * weight, scale * bias).test()
    return json.loads((tmp_path / AUDIT).read_text())


def seen(found: Any) -> set[str]:
    return {sign["name"] for sign in found["signs"] if sign["found"]}


def test_a_robust_model_shows_no_sign(tmp_path: Path) -> None:
    found = audit(tmp_path)
    exact = exact_accuracy(*fitted(40, 2), 40, 2, EPS)
    assert exact > 50
    assert not found["masked"]
    assert seen(found) == set()
    accuracy = found["accuracy"]
    assert accuracy["pgd-20"] == accuracy["pgd-40"] == pytest.approx(exact)
    assert accuracy["clean"] == pytest.approx(exact_accuracy(*fitted(40, 2), 40, 2, 0))
    assert accuracy["unbounded"] == 0
    assert f"is {exact:.2f} % at most" in found["verdict"]
    (transfer,) = [sign for sign in found["signs"] if "another model" in sign["name"]]
    assert transfer["found"] is None
    said = next(tmp_path.rglob("*.log")).read_text()
    assert "lth: one step does better than many: no (" in said
    assert f"lth: {found['verdict']}" in said


def test_a_model_that_is_not_robust_shows_none_either(tmp_path: Path) -> None:
    found = audit(tmp_path, eps=40 / 255)
    assert not found["masked"]
    assert found["accuracy"]["pgd-20"] == 0


def test_saturated_scores_mask_gradients_and_are_found_out(tmp_path: Path) -> None:
    # The same decisions as the robust model's, but the softmax is exactly 1.
    found = audit(tmp_path, scale=1e4)
    exact = exact_accuracy(*fitted(40, 2), 40, 2, EPS)
    assert found["accuracy"]["pgd-20"] > exact + 10  # not what it looks like
    assert found["masked"]
    assert {
        "an attack without gradients does better",
        "gradients are zero",
        "an attack without bounds fails",
    } <= seen(found)
    assert exact <= min(found["accuracy"]["square-reduced"], 100)
    assert "is not to be trusted" in found["verdict"]


def test_quantised_pixels_mask_gradients_and_are_found_out(tmp_path: Path) -> None:
    found = audit(tmp_path, backbone="Quantised")
    assert found["zero_gradients"] == 100
    assert {"an attack without gradients does better", "gradients are zero"} <= seen(found)


def test_images_made_against_another_model_find_masks_out(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    state = {"head.fc.weight": weight, "head.fc.bias": bias}
    torch.save({"state_dict": state}, tmp_path / "other.pth")
    found = audit(tmp_path / "masked", scale=1e4, transfer=str(tmp_path / "other.pth"))
    # The other model decides alike, and its gradients are there.
    assert found["accuracy"]["transfer"] == pytest.approx(exact_accuracy(weight, bias, 40, 2, EPS))
    assert "images made against another model do better" in seen(found)
    fair = audit(tmp_path / "fair", transfer=str(tmp_path / "other.pth"))
    assert seen(fair) == set()


def test_a_transfer_in_another_order_of_channels_and_its_own_scale(tmp_path: Path) -> None:
    weight, bias = fitted(40, 2)
    turned = weight.view(2, 3, -1).flip(1).flatten(1)
    torch.save({"state_dict": {"head.fc.weight": turned, "head.fc.bias": bias}}, tmp_path / "o.pth")
    other = config(tmp_path, {"pgd-20": "pgd-20"})
    # The same model, which sees blue first, of pixels with the means and deviations turned round.
    other.data_preprocessor.update(
        to_rgb=True,
        mean=other.data_preprocessor.mean[::-1],
        std=other.data_preprocessor.std[::-1],
    )
    other.dump(tmp_path / "other.py")
    attack = {"type": "Transfer", "checkpoint": str(tmp_path / "o.pth"),
              "config": str(tmp_path / "other.py")}  # fmt: skip
    metrics = runner_with(config(tmp_path / "work", {"transfer": attack}), weight, bias).test()
    exact = exact_accuracy(weight, bias, 40, 2, EPS)
    assert metrics["accuracy/top1/transfer"] == pytest.approx(exact)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"many_steps": 20}, "many_steps=20 has to be above"),
        ({"restarts": 1}, "restarts=1 above 1"),
        ({"transfer": "nowhere.pth"}, "nowhere.pth does not exist"),
        ({"transfer_config": "x.py"}, "needs transfer"),
        ({"metric": "accuracy/top5"}, "gives no 'accuracy/top5'"),
    ],
)
def test_what_is_no_good_is_said(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        audit(tmp_path, **settings)


def test_a_transfer_from_a_checkpoint_that_does_not_fit_is_said(tmp_path: Path) -> None:
    torch.save({"state_dict": {"head.fc.weight": torch.zeros(2, 48)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not fit the config") as problem:
        audit(tmp_path, transfer=str(tmp_path / "other.pth"))
    assert "\n" not in str(problem.value)


# Signs by themselves ------------------------------------------------------------------------------

SOUND = Accuracies(
    images=1000, pgd=50.0, more_steps=49.9, restarts=49.5, one_step=58.0, black_box=55.0,
    unbounded=0.0, zero_gradients=0.0, transfer=70.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("more_steps", 49.0, 48.9),
        ("restarts", 49.0, 48.9),
        ("one_step", 49.0, 48.9),
        ("black_box", 48.5, 48.4),  # 49.5, from several starts, is the white box's best
        ("transfer", 48.5, 48.4),
        ("unbounded", 1.0, 1.1),
        ("zero_gradients", 1.0, 1.1),
    ],
)
def test_each_sign_is_told_by_one_number(field: str, good: float, bad: float) -> None:
    assert not any(sign.found for sign in signs(SOUND))
    assert verdict(SOUND, signs(SOUND)).endswith("is 49.50 % at most")
    assert not any(sign.found for sign in signs(replace(SOUND, **{field: good})))
    found = replace(SOUND, **{field: bad})
    (sign,) = [sign for sign in signs(found) if sign.found]
    assert f"{bad:.2f} %" in sign.says
    assert sign.name in verdict(found, signs(found))
    assert len(signs(SOUND)) == len(fields(SOUND)) - 2  # all but images and pgd


def test_of_few_images_one_is_no_sign() -> None:
    few = replace(SOUND, images=40, black_box=47.1)
    assert not any(sign.found for sign in signs(few))
    assert any(sign.found for sign in signs(replace(few, black_box=46.9)))


# The report ---------------------------------------------------------------------------------------


def test_the_report_shows_it_and_stands_damaged_ones(tmp_path: Path) -> None:
    audit(tmp_path / "runs" / "masked", scale=1e4)
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / AUDIT).write_text('{"verdict": "<b>fine</b>"}')
    line = results.Result("t", "w", "dense", 0, 0.0, 0, "accuracy", 1.0)
    results.append(tmp_path / "runs" / results.FILE, [line])
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "runs"), "-o", str(page)]) == 0
    html = page.read_text()
    assert "Is robustness real?" in html
    assert "is not to be trusted" in html
    assert "an attack without gradients does better" in html
    assert "is damaged" in html
    assert "<b>fine" not in html
