"""A training that is broken off and resumed ends with the bits of one that was not."""

from __future__ import annotations

import pickle
import random
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.recording import LastMetrics
from lth_core.openmmlab.resuming import is_whole, last_whole
from lth_core.openmmlab.sampling import Draw, SeededBatches, seed_items
from mmengine.config import Config
from mmengine.hooks import Hook

from .noisy import LOOPS, NoisyDataset, noisy_config
from .toy import toy_config


class Outcome:
    """What a training ended with."""

    def __init__(self, runner: Any, metrics: dict[str, float]) -> None:
        self.state = deepcopy(runner.model.state_dict())
        self.optimizer = deepcopy(runner.optim_wrapper.optimizer.state_dict()["state"])
        self.metrics = metrics
        self.iterations = runner.iter

    def require_equal(self, other: Outcome) -> None:
        assert self.metrics == other.metrics
        for name, tensor in self.state.items():
            assert torch.equal(tensor, other.state[name]), name
        for key, state in self.optimizer.items():
            momentum = state["momentum_buffer"]
            assert torch.equal(momentum, other.optimizer[key]["momentum_buffer"])


class BreakOffError(Exception):
    pass


class Break(Hook):
    """Ends the training after some iterations, before anything of that iteration is saved."""

    priority = "HIGHEST"

    def __init__(self, iteration: int, where: str) -> None:
        self.iteration = iteration
        self.where = where

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if self.where == "train" and runner.iter + 1 == self.iteration:
            raise BreakOffError

    def before_val_epoch(self, runner: Any) -> None:
        if self.where == "val" and runner.iter >= self.iteration:
            raise BreakOffError


def train(cfg: Config, *hooks: Hook, resume: bool = False) -> Outcome:
    cfg = deepcopy(cfg)
    cfg.resume = resume
    # Whatever ran before in this process must not matter.
    torch.manual_seed(random.randrange(1000))
    metrics = LastMetrics()
    runner = LTHRunner.from_cfg(cfg, (metrics, *hooks))
    runner.train()
    return Outcome(runner, metrics.last)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("loop", LOOPS)
def test_resuming_anywhere_gives_the_same_bits(loop: str, workers: int, tmp_path: Path) -> None:
    whole = train(noisy_config(tmp_path / "whole", loop))
    cfg = noisy_config(tmp_path / "parts", loop, workers)
    resume = False
    for iteration in (6,) if "finite" in loop else (5, 8, 11):
        with pytest.raises(BreakOffError):
            train(cfg, Break(iteration, "train"), resume=resume)
        resume = True
    train(cfg, resume=True).require_equal(whole)


@pytest.mark.parametrize("loop", ["epochs", "iterations"])
def test_a_validation_that_was_cut_off_is_made_up_for(loop: str, tmp_path: Path) -> None:
    whole = train(noisy_config(tmp_path / "whole", loop))
    cfg = noisy_config(tmp_path / "parts", loop)
    with pytest.raises(BreakOffError):
        train(cfg, Break(16, "val"))
    train(cfg, resume=True).require_equal(whole)


@pytest.mark.parametrize(("first", "then"), [(4, 8), (8, 4)])
def test_with_other_batches_the_next_epoch_is_trained_in_full(
    first: int, then: int, tmp_path: Path
) -> None:
    """As when a training goes on with fewer processes, or with more."""
    cfg = toy_config(tmp_path, epochs=1)
    cfg.train_dataloader.batch_size = first
    train(cfg)
    cfg.train_cfg.max_epochs = 3
    cfg.train_dataloader.batch_size = then
    assert train(cfg, resume=True).iterations == 32 // first + 2 * 32 // then


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    whole = train(noisy_config(tmp_path / "whole"))
    with pytest.raises(BreakOffError):
        train(noisy_config(tmp_path / "parts"), Break(14, "train"))
    for damage in ("flipped", "cut"):
        work_dir = Path(shutil.copytree(tmp_path / "parts", tmp_path / damage))
        last = work_dir / "epoch_3.pth"
        data = bytearray(last.read_bytes())
        if damage == "flipped":
            data[len(data) // 2] ^= 4
        last.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
        assert last_whole(work_dir) == work_dir / "epoch_2.pth"
        (work_dir / ".epoch_4.pth.part").write_bytes(b"half")
        train(noisy_config(work_dir), resume=True).require_equal(whole)
        assert not (work_dir / ".epoch_4.pth.part").exists()


def test_every_flipped_bit_that_matters_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(300.0), "b": [1, "two"]}, path)
    good = path.read_bytes()
    assert is_whole(path)
    chance = random.Random(0)
    unseen = 0
    for _ in range(300):
        data = bytearray(good)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        if is_whole(path):
            unseen += 1
            try:
                loaded = torch.load(path, weights_only=True)
            except (RuntimeError, pickle.UnpicklingError):
                continue  # noticed, if later
            assert torch.equal(loaded["a"], torch.arange(300.0))
            assert loaded["b"] == [1, "two"]
    assert unseen < 150  # bits of padding and of dates


def test_validating_does_not_change_a_training(tmp_path: Path) -> None:
    often = train(noisy_config(tmp_path / "often"))
    seldom = noisy_config(tmp_path / "seldom")
    seldom.train_cfg.val_interval = 100
    train(seldom).require_equal(often)


def test_workers_do_not_change_a_training(tmp_path: Path) -> None:
    outcomes = [train(noisy_config(tmp_path / str(n), workers=n)) for n in (0, 1, 3)]
    outcomes[1].require_equal(outcomes[0])
    outcomes[2].require_equal(outcomes[0])


def test_a_seed_changes_a_training(tmp_path: Path) -> None:
    one = train(noisy_config(tmp_path / "one"))
    other = train(noisy_config(tmp_path / "other", randomness={"seed": 1}))
    assert not torch.equal(one.state["backbone.conv2.weight"], other.state["backbone.conv2.weight"])


def test_samples_differ_between_draws_and_repeat_for_a_seed() -> None:
    dataset = seed_items(NoisyDataset(pipeline=[]))
    assert isinstance(dataset, NoisyDataset)
    assert type(dataset).__name__ == "NoisyDataset"
    batches = SeededBatches([[0, 0], [1, 0]], seed=3, rank=0)
    first, second = list(batches), list(batches)
    images = [dataset[draw]["inputs"] for batch in first + second for draw in batch if draw == 0]
    for one in range(len(images)):
        for other in range(one):
            assert not torch.equal(images[one], images[other])
    state = random.getstate(), torch.get_rng_state()
    again = [dataset[draw]["inputs"] for draw in next(iter(SeededBatches([[0, 0]], 3, 0)))]
    assert torch.equal(again[0], images[0])
    assert torch.equal(again[1], images[1])
    assert (state[0], state[1].tolist()) == (random.getstate(), torch.get_rng_state().tolist())
    other_rank = next(iter(SeededBatches([[0]], 3, 1)))[0]
    assert not torch.equal(dataset[other_rank]["inputs"], images[0])
    copy = pickle.loads(pickle.dumps(dataset))
    draw = pickle.loads(pickle.dumps(first[0][0]))
    assert isinstance(draw, Draw)
    assert torch.equal(copy[draw]["inputs"], images[0])


def test_skipping_batches_loads_nothing_and_goes_on_alike() -> None:
    batches = SeededBatches([[0, 1], [2, 3], [4, 5]], seed=0, rank=0)
    whole = [[(int(d), d.seed) for d in batch] for batch in batches]
    batches.epoch, batches.skip = 0, 2
    rest = [[(int(d), d.seed) for d in batch] for batch in batches]
    assert rest == whole[2:]
    assert len(list(batches)) == 3  # only the one pass is cut short
