"""Every rewind, what is carried over, and criteria with data, as chains of mmengine trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.errors import RunError
from lth_core.files import load_tensors
from lth_core.imp.proof import prove
from lth_core.openmmlab import LevelHook, LTHRunner
from mmengine.config import Config
from mmengine.runner import Runner

from .noisy import noisy_config
from .toy import toy_config

SCHEDULE = {"type": "ExponentialLR", "gamma": 0.9, "by_epoch": False}


class Seen:
    """What levels start and end with, as the runner has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[dict[str, torch.Tensor]] = []
        self.rates: list[float] = []
        self.momenta: list[dict[int, torch.Tensor]] = []
        self.ended: list[dict[str, torch.Tensor]] = []
        self.handed: list[dict[int, torch.Tensor]] = []
        before, after = LevelHook.before_train, LevelHook.after_train

        def momenta(runner: Runner) -> dict[int, torch.Tensor]:
            state = runner.optim_wrapper.optimizer.state_dict()["state"]
            return {key: value["momentum_buffer"].clone() for key, value in state.items()}

        def spy_before(hook: LevelHook, runner: Runner) -> None:
            before(hook, runner)
            self.started.append({n: t.clone() for n, t in runner.model.state_dict().items()})
            self.rates.append(runner.optim_wrapper.get_lr()["lr"][0])
            self.momenta.append(momenta(runner))

        def spy_after(hook: LevelHook, runner: Runner) -> None:
            after(hook, runner)
            self.ended.append({n: t.clone() for n, t in runner.model.state_dict().items()})
            self.handed.append(momenta(runner))

        monkeypatch.setattr(LevelHook, "before_train", spy_before)
        monkeypatch.setattr(LevelHook, "after_train", spy_after)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


def run(directory: Path, config: Config | None = None, **imp: Any) -> list[Any]:
    cfg = config or toy_config(directory, param_scheduler=SCHEDULE)
    cfg.imp = {"rounds": 2, "amount": 0.5, "rewind": "init"} | imp
    results = LTHRunner.from_cfg(cfg).train()
    for level in range(len(results)):
        assert prove(directory / f"level_{level:02d}" / "ticket.safetensors")
    return results


def masked(weights: dict[str, torch.Tensor], directory: Path, level: int) -> dict[str, Any]:
    found = lth.Ticket.load(directory / f"level_{level:02d}" / "ticket.safetensors")
    masks = found.masks.with_prefix("backbone.")
    return {n: t.masked_fill(~masks[n], 0) if n in masks else t for n, t in weights.items()}


def require_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("rewind", ["lr", "none"])
def test_weights_go_on_and_the_schedule_as_asked(rewind: str, seen: Seen, tmp_path: Path) -> None:
    run(tmp_path, rewind=rewind)
    for level in (1, 2):
        require_equal(seen.started[level], masked(seen.ended[level - 1], tmp_path, level))
    last = 0.1 * 0.9**7  # the rate of the last of 8 steps
    assert seen.rates == pytest.approx([0.1, last, last] if rewind == "none" else [0.1] * 3)


def test_reinit_starts_each_level_from_other_weights(seen: Seen, tmp_path: Path) -> None:
    run(tmp_path, rewind="reinit")
    first, second, third = (s["backbone.conv2.weight"] for s in seen.started)
    for one, other in ((first, second), (second, third)):
        both = (one != 0) & (other != 0)
        assert both.any()
        assert (one[both] != other[both]).all()
    # Of the initialiser's spread, not of the trained weights': PyTorch's is uniform in 1/sqrt(fan).
    bound = 1 / (8 * 9) ** 0.5
    assert float(third.abs().max()) <= bound
    assert float(seen.started[2]["head.weight"].abs().max()) <= 1 / 16**0.5


def test_momentum_is_carried_over_and_zero_where_pruned(seen: Seen, tmp_path: Path) -> None:
    run(tmp_path, carry=["optimizer"])
    assert seen.momenta[0] == {}
    masks = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors").masks
    names = list(dict(toy_model().named_parameters()))
    for key, momentum in seen.momenta[1].items():
        name = names[key].removeprefix("backbone.")
        expected = seen.handed[0][key]
        if name in masks:
            expected = expected.masked_fill(~masks[name], 0)
        assert torch.equal(momentum, expected), name
    assert seen.rates == pytest.approx([0.1, 0.1, 0.1])  # the schedule starts again


def toy_model() -> torch.nn.Module:
    from .toy import ToyClassifier

    return ToyClassifier()


def test_the_schedule_goes_on_over_all_levels(seen: Seen, tmp_path: Path) -> None:
    run(tmp_path, carry=["schedule"])
    assert seen.rates == pytest.approx([0.1, 0.1 * 0.9**8, 0.1 * 0.9**16])
    require_equal(seen.started[2], masked(seen.started[0], tmp_path, 2))


def test_what_is_kept_is_not_rewound(seen: Seen, tmp_path: Path) -> None:
    run(tmp_path, keep=["head.*"])
    for level in (1, 2):
        kept = {n: t for n, t in seen.ended[level - 1].items() if n.startswith("head.")}
        require_equal(seen.started[level], masked({**seen.started[0], **kept}, tmp_path, level))


@pytest.mark.parametrize("keep_best", [False, True])
def test_rewinding_to_the_dense_runs_result(keep_best: bool, seen: Seen, tmp_path: Path) -> None:
    cfg = noisy_config(tmp_path)
    if keep_best:  # the "best" being the worst, which is not the last
        cfg.default_hooks.checkpoint.update(save_best="accuracy", rule="less")
    run(tmp_path, cfg, rewind="dense")
    expected = seen.ended[0]
    if keep_best:
        (best,) = (tmp_path / "level_00").glob("best_*.pth")
        assert "epoch_4" not in best.name
        expected = torch.load(best, weights_only=True)["state_dict"]
    for level in (1, 2):
        require_equal(seen.started[level], masked(expected, tmp_path, level))
    masks = lth.Ticket.load(tmp_path / "level_01/ticket.safetensors").masks
    ranked = {n: seen.ended[0]["backbone." + n] for n in masks}  # the last weights, in any case
    ones = lth.MaskSet({n: torch.ones_like(mask) for n, mask in masks.items()})
    assert lth.prune(ranked, ones, 0.5) == masks


def test_a_level_whose_rewind_weights_are_gone_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imp = {"rewind": "early", "rewind_at": "3it"}
    whole = run(tmp_path / "whole", noisy_config(tmp_path / "whole"), **imp)
    after = LevelHook.after_train_iter

    def interrupt(hook: LevelHook, runner: Runner, *args: Any, **kwargs: Any) -> None:
        after(hook, runner, *args, **kwargs)
        if runner.iter == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LevelHook, "after_train_iter", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", noisy_config(tmp_path / "parts"), **imp)
    (tmp_path / "parts/rewind.safetensors").unlink()
    assert run(tmp_path / "parts", noisy_config(tmp_path / "parts"), **imp) == whole


def test_a_rewind_point_in_samples(tmp_path: Path) -> None:
    run(tmp_path / "samples", rewind="early", rewind_at="0.04ksamples")
    run(tmp_path / "steps", rewind="early", rewind_at="5it")  # of 8 images
    one, other = (
        load_tensors(tmp_path / name / "rewind.safetensors", RunError, "x")[0]
        for name in ("samples", "steps")
    )
    require_equal(one, other)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "synflow"])
def test_criteria_that_run_the_model_take_the_configs_data(criterion: str, tmp_path: Path) -> None:
    kept = [8 * 8 * 9 + 16 * 8 * 9]
    results = run(tmp_path / "one", criterion=criterion, batches=2)
    for _ in range(2):
        kept.append(kept[-1] - round(0.5 * kept[-1]))
    for level, result in enumerate(results):
        found = lth.Ticket.load(tmp_path / "one" / f"level_{level:02d}" / "ticket.safetensors")
        assert found.masks.kept == kept[level]
        assert result.digest == found.masks.digest()
    again = run(tmp_path / "two", criterion=criterion, batches=2)
    assert [r.digest for r in again] == [r.digest for r in results]
    magnitude = run(tmp_path / "three")
    assert magnitude[1].digest != results[1].digest


def test_a_run_without_a_seed_keeps_the_one_it_has_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config() -> Config:
        return noisy_config(tmp_path, randomness={})

    after = LevelHook.after_train_iter

    def interrupt(hook: LevelHook, runner: Runner, *args: Any, **kwargs: Any) -> None:
        after(hook, runner, *args, **kwargs)
        if hook.level.index == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LevelHook, "after_train_iter", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, config())
    seed = json.loads((tmp_path / "imp.json").read_text())["config"]["randomness"]["seed"]
    run(tmp_path, config())
    receipts = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("level_*/metrics.json"))]
    assert [r["seeds"]["training"] for r in receipts] == [seed] * 3
