from __future__ import annotations

import csv
import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import lth_core as lth
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lth_core import files
from lth_core.errors import ConfigError, LTHError, RunError, TicketError
from lth_core.imp import IMPSettings, Level, LevelResult, Point, Trained, hold, run_imp
from lth_core.imp import directory as run_files
from lth_core.weights import restore, snapshot
from torch import Tensor, nn

from .helpers import MMLike, bits, positions
from .test_pruning import prune_plainly

STEPS = 6
ROUNDS = 3
SETTINGS = IMPSettings(rounds=ROUNDS, amount=0.3)
CONFIG = {"optimizer": {"lr": 0.1}, "pipeline": [{"type": "Load"}, {"type": "Flip", "p": 0.5}]}
fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def nothing(*_: object) -> None:
    pass


class Toy:
    """Trains a small OpenMMLab-like model on random data with SGD; starts a broken level anew.

    Args:
        settings: Of the run.
        at: Called with level and step before each step of training, to make trouble there.
    """

    def __init__(self, settings: IMPSettings = SETTINGS, at: Callable = nothing) -> None:
        self.at = at
        self.rewind_at = Point.parse(settings.rewind_at) if settings.rewind_at else None
        self.trained: dict[int, dict[str, Tensor]] = {}
        self.started: dict[int, dict[str, Tensor]] = {}
        self.passes: list[dict[str, Tensor]] = []  # level 0's weights before each step

    def build(self) -> nn.Module:
        torch.manual_seed(1)
        return MMLike()

    def scope(self, settings: IMPSettings) -> lth.MaskSet:
        model = self.build().backbone
        return lth.MaskSet.ones(model, lth.prunable(model, settings.stem, settings.kinds))

    def share(self, masks: lth.MaskSet) -> lth.MaskSet:
        return masks

    def wait(self) -> None:
        pass

    def fresh(self, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return snapshot(MMLike())

    def train(self, level: Level) -> Trained:
        model = self.build()
        if level.index > 0:
            restore(model, level.load_start())
        elif self.rewind_at is None:
            level.save_rewind(snapshot(model))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
        link = lth.attach(model, level.masks, optimizer)
        self.started[level.index] = snapshot(model)
        generator = torch.Generator().manual_seed(level.index)
        loss = torch.zeros(())
        for step in range(STEPS if level.train else 0):
            self.at(level.index, step)
            if level.index == 0:
                self.passes.append(snapshot(model))
            x = torch.randn(4, 3, 6, 6, generator=generator)
            y = torch.randint(5, (4,), generator=generator)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            here = self.rewind_at and self.rewind_at.iteration(STEPS, 3) == step + 1
            if level.index == 0 and here:
                level.save_rewind(snapshot(model))
        link.check()
        self.at(level.index, STEPS)
        self.trained[level.index] = snapshot(model)
        measured = {"loss": loss.item(), "norm": model.head[1].weight.norm().item()}
        return Trained(snapshot(model), measured, ("backbone.",))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a run but the lock, and the one that says how long it took."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in (".lock", "seconds.json")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, list[LevelResult], Toy]:
    """A run that nothing happened to. Its directory must not be written to."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    trainer = Toy()
    return directory, run_imp(SETTINGS, directory, trainer, CONFIG), trainer


@pytest.fixture
def copied(undisturbed, tmp_path) -> Path:
    """A copy of it to do things to."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "run"))


def ticket(directory: Path, level: int) -> lth.Ticket:
    return lth.Ticket.load(directory / f"level_{level:02d}" / "ticket.safetensors")


# ---------------------------------------------------------------------------------------------
# What a run gives


def test_levels_have_exact_counts_and_nest(undisturbed):
    directory, results, _ = undisturbed
    kept = total = 2 * 4 * 4 * 9
    assert [result.index for result in results] == list(range(ROUNDS + 1))
    previous = None
    for result in results:
        found = ticket(directory, result.index)
        assert found.masks.kept == kept
        assert found.masks.total == total
        assert result.sparsity == found.masks.sparsity == 1 - kept / total
        assert result.digest == found.masks.digest()
        if previous is not None:
            assert positions(found.masks) < positions(previous.masks)
            assert found.meta["parent"] == previous.masks.digest()
        previous = found
        kept -= round(0.3 * kept)
    assert not (directory / f"level_{ROUNDS + 1:02d}").exists()


def test_each_mask_comes_from_the_weights_trained_at_the_level_before(undisturbed):
    directory, _, trainer = undisturbed
    for index in range(ROUNDS):
        before = ticket(directory, index).masks
        weights = {name: trainer.trained[index][f"backbone.{name}"] for name in before}
        expected = prune_plainly(weights, before, 0.3)
        assert positions(ticket(directory, index + 1).masks) == expected


def test_each_level_starts_from_the_rewind_weights_under_its_mask(undisturbed):
    directory, _, trainer = undisturbed
    initial = trainer.build().state_dict()
    rewind, meta = files.load_tensors(directory / "rewind.safetensors", RunError, "rewind")
    assert meta["digest"] == lth_digest(initial) == lth_digest(rewind)
    for index in range(ROUNDS + 1):
        found = ticket(directory, index)
        masks = found.masks.with_prefix("backbone.")
        for name, tensor in initial.items():
            expected = tensor if name not in masks else tensor.masked_fill(~masks[name], 0)
            assert bits(trainer.started[index][name]) == bits(expected)
            inner = name.removeprefix("backbone.")
            if inner != name:
                assert bits(found.weights[inner]) == bits(expected)
            else:  # heads and necks are no part of a ticket
                assert name not in found.weights
        assert not all(
            torch.equal(trainer.trained[index][name], trainer.started[index][name])
            for name in initial
        )


def lth_digest(weights: dict[str, Tensor]) -> str:
    """The definition of the digest of weights, written out."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode() + bits(tensor))
    return sha.hexdigest()


def test_one_shot_controls_prune_the_weights_given_as_often(undisturbed):
    directory, results, trainer = undisturbed
    initial = trainer.build().backbone.state_dict()
    masks = ticket(directory, 0).masks
    for level in range(1, ROUNDS + 1):
        found = lth.Ticket.load(directory / "one_shot" / f"level_{level:02d}.safetensors")
        expected = prune_plainly(initial, masks, 0.3)
        assert positions(found.masks) == expected
        assert found.masks.kept == ticket(directory, level).masks.kept
        assert found.masks.digest() != results[level].digest
        for name, mask in found.masks.items():
            assert torch.equal(found.weights[name], initial[name].masked_fill(~mask, 0))
        masks = found.masks


def test_receipts_metrics_and_table(undisturbed):
    directory, results, trainer = undisturbed
    rewind = lth_digest(trainer.build().state_dict())
    with open(directory / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results)
    for result, row in zip(results, rows, strict=True):
        receipt = json.loads((directory / f"level_{result.index:02d}/metrics.json").read_text())
        last = result.index == ROUNDS
        assert receipt["index"] == result.index
        assert receipt["digest"] == result.digest
        assert receipt["metrics"] == result.metrics
        assert receipt["rewind"] == rewind
        assert receipt["trained"] == lth_digest(trainer.trained[result.index])
        assert receipt["next"] == (None if last else results[result.index + 1].digest)
        assert row["level"] == str(result.index)
        assert float(row["sparsity"]) == pytest.approx(result.sparsity, abs=1e-6)
        assert row["digest"] == result.digest
        assert {k: float(row[k]) for k in ("loss", "norm")} == result.metrics
    stored = json.loads((directory / "imp.json").read_text())
    assert stored["imp"]["amount"] == 0.3
    assert stored["config"] == CONFIG


def test_tickets_tell_where_they_come_from(undisturbed):
    meta = ticket(undisturbed[0], 2).meta
    assert meta["level"] == 2
    assert meta["nominal_sparsity"] == pytest.approx(1 - 0.7**2)
    assert meta["rewind"] == "pretrained"
    assert meta["rewind_digest"] == lth_digest(Toy().build().state_dict())
    assert meta["criterion"] == "magnitude"
    assert meta["run"] == "run"


def test_first_prune_before_training_ranks_the_weights_given(tmp_path):
    settings = IMPSettings(rounds=1, amount=0.3, first_prune="before")
    trainer = Toy(settings)
    seen = []
    trainer.at = lambda level, step: seen.append(level)
    run_imp(settings, tmp_path, trainer)
    initial = trainer.build().backbone.state_dict()
    ones = ticket(tmp_path, 0).masks
    assert positions(ticket(tmp_path, 1).masks) == prune_plainly(initial, ones, 0.3)
    assert seen.count(0) == 1  # only its end: level 0 is evaluated, not trained
    assert seen.count(1) == STEPS + 1


@pytest.mark.parametrize(("text", "step"), [("2it", 2), ("1ep", 3), ("50%", 3), ("4.4it", 4)])
def test_early_rewinding(tmp_path, text, step):
    settings = IMPSettings(rounds=1, amount=0.3, rewind="early", rewind_at=text)
    trainer = Toy(settings)
    run_imp(settings, tmp_path, trainer)
    masks = ticket(tmp_path, 1).masks.with_prefix("backbone.")
    for name, tensor in trainer.passes[step].items():
        expected = tensor if name not in masks else tensor.masked_fill(~masks[name], 0)
        assert bits(trainer.started[1][name]) == bits(expected)
    assert ticket(tmp_path, 1).meta["rewind"] == "early"


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_random_pruning_is_decided_by_the_seed(tmp_path, allocation):
    def digests(name, seed):
        settings = IMPSettings(2, 0.3, criterion="random", allocation=allocation, seed=seed)
        return [r.digest for r in run_imp(settings, tmp_path / name, Toy(settings))]

    one, same, other = digests("a", 5), digests("b", 5), digests("c", 6)
    assert one == same
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert positions(ticket(tmp_path / "a", 2).masks) < positions(ticket(tmp_path / "a", 1).masks)


def test_no_rounds_is_one_training(tmp_path):
    results = run_imp(IMPSettings(rounds=0), tmp_path, Toy())
    assert [r.sparsity for r in results] == [0]
    assert ticket(tmp_path, 0).masks.sparsity == 0


def test_metrics_of_numpy_and_torch_can_be_kept(tmp_path):
    class Measuring(Toy):
        def train(self, level):
            measured = {"a": np.float32(0.1), "b": torch.tensor(0.5), "c": 3}
            return replace(super().train(level), metrics=measured)

    results = run_imp(IMPSettings(rounds=0), tmp_path, Measuring())
    assert results[0].metrics == {"a": float(np.float32(0.1)), "b": 0.5, "c": 3.0}
    assert run_imp(IMPSettings(rounds=0), tmp_path, Toy()) == results


# ---------------------------------------------------------------------------------------------
# Going on


def forbidden(level: int, step: int) -> None:
    raise AssertionError(f"level {level} is trained again")


def test_a_finished_run_is_not_repeated(undisturbed, copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*.safetensors")}
    assert run_imp(SETTINGS, copied, Toy(at=forbidden), CONFIG) == undisturbed[1]
    assert contents(copied) == contents(undisturbed[0])
    assert {path: path.stat().st_mtime_ns for path in before} == before


class StopError(Exception):
    pass


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
@pytest.mark.parametrize("where", [(0, 0), (0, 3), (0, STEPS), (1, 0), (2, 5), (ROUNDS, STEPS)])
def test_a_training_that_broke_off_is_done_again_and_no_other(undisturbed, tmp_path, where, error):
    trained = []

    def stop(level, step):
        if (level, step) == where:
            raise error

    with pytest.raises(error):
        run_imp(SETTINGS, tmp_path / "run", Toy(at=stop), CONFIG)
    trainer = Toy(at=lambda level, step: step or trained.append(level))
    assert run_imp(SETTINGS, tmp_path / "run", trainer, CONFIG) == undisturbed[1]
    assert trained == list(range(where[0], ROUNDS + 1))
    assert contents(tmp_path / "run") == contents(undisturbed[0])


WRITES = 2 + 4 * (ROUNDS + 1) + ROUNDS
"""imp.json, rewind weights; per level a ticket, metrics, table and times; one-shot controls."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(WRITES))
@pytest.mark.parametrize(
    "error",
    [
        StopError(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
    ],
)
def test_a_run_that_broke_off_at_any_write_ends_alike(
    undisturbed, tmp_path, monkeypatch, number, after, error
):
    count = 0
    write = files.write_atomic

    def breaking(path, data):
        nonlocal count
        count += 1
        if count - 1 != number:
            return write(path, data)
        if after:
            write(path, data)
        raise error

    expected = type(error) if isinstance(error, StopError) else LTHError
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", breaking)
        patch.setattr(run_files, "write_atomic", breaking)
        with pytest.raises(expected) as info:
            run_imp(SETTINGS, tmp_path / "run", Toy(), CONFIG)
    assert count == number + 1
    if expected is LTHError:
        assert isinstance(error, OSError)
        assert f"cannot be written: {error.strerror}" in str(info.value)
        assert str(tmp_path / "run") in str(info.value)
    assert run_imp(SETTINGS, tmp_path / "run", Toy(), CONFIG) == undisturbed[1]
    assert contents(tmp_path / "run") == contents(undisturbed[0])


def test_the_number_of_writes_is_what_the_test_above_thinks(tmp_path, monkeypatch):
    names = []
    write = files.write_atomic

    def counted(path, data):
        names.append(Path(path).name)
        write(path, data)

    monkeypatch.setattr(files, "write_atomic", counted)
    monkeypatch.setattr(run_files, "write_atomic", counted)
    run_imp(SETTINGS, tmp_path, Toy(), CONFIG)
    assert len(names) == WRITES
    assert names.count("ticket.safetensors") == names.count("metrics.json") == ROUNDS + 1


def run_slowly(directory: Path) -> None:
    torch.set_num_threads(1)
    run_imp(SETTINGS, directory, Toy(at=lambda *_: time.sleep(0.01)), CONFIG)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_again_and_again_ends_alike(undisturbed, tmp_path, seed):
    delays = random.Random(seed)
    killed = 0
    for _ in range(6):
        child = fork.Process(target=run_slowly, args=(tmp_path / "run",))
        child.start()
        child.join(delays.uniform(0.02, 0.15))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.join(30)
    assert killed  # at least the first: a whole run takes 0.28 s of waiting alone
    assert run_imp(SETTINGS, tmp_path / "run", Toy(), CONFIG) == undisturbed[1]
    assert contents(tmp_path / "run") == contents(undisturbed[0])


def test_what_a_killed_process_left_half_written_is_removed(undisturbed, copied):
    for name in FILES:
        (copied / name).with_name(f".{Path(name).name}.x1y2z3").write_bytes(b"half")
    (copied / "level_00" / "epoch_1.pth").write_bytes(b"of the trainer")
    run_imp(SETTINGS, copied, Toy(at=forbidden), CONFIG)
    (copied / "level_00" / "epoch_1.pth").unlink()
    assert contents(copied) == contents(undisturbed[0])


# ---------------------------------------------------------------------------------------------
# Damage

FILES = [
    "imp.json",
    "rewind.safetensors",
    "results.csv",
    *(f"level_{k:02d}/{name}" for k in range(4) for name in ("ticket.safetensors", "metrics.json")),
    *(f"one_shot/level_{k:02d}.safetensors" for k in range(1, 4)),
]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 3] + bytes([data[len(data) // 3] ^ 4]) + data[len(data) // 3 + 1 :]


DAMAGE = {
    "truncated": truncated,
    "flipped": flipped,
    "empty": lambda data: b"",
    "not text": lambda data: b"\xff\xfe" * 20,
    "other json": lambda data: b"[1, 2]\n",
    "missing": lambda data: None,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_repaired_or_reported(undisturbed, copied, name, damage):
    path = copied / name
    bad = damage(path.read_bytes())
    if bad is None:
        path.unlink()
    else:
        path.write_bytes(bad)
    try:
        results = run_imp(SETTINGS, copied, Toy(), CONFIG)
    except RunError as problem:
        message = str(problem)
    else:
        message = ""
        assert results == undisturbed[1]
        assert contents(copied) == contents(undisturbed[0])
    # Only what cannot be made again is an error.
    assert bool(message) == (name == "imp.json" and bad is not None)
    if message:
        assert str(copied) in message


def test_every_byte_of_a_receipt_matters(undisturbed, copied):
    path = copied / "level_01/metrics.json"
    good = path.read_bytes()
    receipt = json.loads(good)
    receipt.pop("checksum")
    rewind = run_files.rewind_digest(copied)
    assert run_files.read_finished(copied, 1, ROUNDS, rewind) == receipt
    chance = random.Random(0)
    with open(path, "r+b", buffering=0) as file:
        for position, byte in enumerate(good):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << chance.randrange(8)]), position)
            assert run_files.read_finished(copied, 1, ROUNDS, rewind) in (None, receipt)
            os.pwrite(file.fileno(), bytes([byte]), position)
    for old, new in ((b'"loss": ', b'"loss": 1'), (b'"index": 1', b'"index": 2')):
        assert old in good
        path.write_bytes(good.replace(old, new))
        assert run_files.read_finished(copied, 1, ROUNDS, rewind) is None


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A whole run of another seed: its files are sound, and have no business elsewhere."""
    torch.set_num_threads(1)
    settings = IMPSettings(rounds=ROUNDS, amount=0.3, criterion="random", seed=9)
    directory = tmp_path_factory.mktemp("foreign") / "run"

    class Other(Toy):
        def build(self):
            torch.manual_seed(2)
            return MMLike()

    run_imp(settings, directory, Other(), CONFIG)
    return directory


@pytest.mark.parametrize("name", [n for n in FILES if n != "imp.json" and "one_shot" not in n])
def test_a_sound_file_of_another_run_is_noticed(undisturbed, copied, foreign, name):
    shutil.copy(foreign / name, copied / name)
    assert run_imp(SETTINGS, copied, Toy(), CONFIG) == undisturbed[1]
    assert contents(copied) == contents(undisturbed[0])


@pytest.mark.parametrize(("source", "target"), [(1, 2), (2, 1), (3, 2), (0, 3)])
def test_files_of_another_level_are_noticed(undisturbed, copied, source, target):
    for name in ("ticket.safetensors", "metrics.json"):
        shutil.copy(copied / f"level_{source:02d}" / name, copied / f"level_{target:02d}" / name)
    assert run_imp(SETTINGS, copied, Toy(), CONFIG) == undisturbed[1]
    assert contents(copied) == contents(undisturbed[0])


def test_rewind_weights_that_cannot_be_had_again_are_an_error(copied):
    """A trainer that finds level 0 done does not write them a second time."""

    class Resuming(Toy):
        def train(self, level):
            assert level.index == 0
            return Trained(self.build().state_dict(), {}, ("backbone.",))

    (copied / "rewind.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"rewind\.safetensors is not a rewind weights"):
        run_imp(SETTINGS, copied, Resuming(), CONFIG)
    (copied / "rewind.safetensors").unlink()
    with pytest.raises(RunError, match=r"rewind\.safetensors does not exist"):
        run_imp(SETTINGS, copied, Resuming(), CONFIG)


def test_a_training_that_diverged_is_an_error_and_no_ticket(tmp_path):
    class Diverging(Toy):
        def train(self, level):
            trained = super().train(level)
            trained.weights["backbone.layer1.0.conv1.weight"][0] = float("nan")
            return trained

    with pytest.raises(LTHError, match="NaN or infinity"):
        run_imp(SETTINGS, tmp_path, Diverging())
    assert not list(tmp_path.rglob("ticket.safetensors"))


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        run_imp(SETTINGS, tmp_path / "file" / "run", Toy())
    with pytest.raises(RunError, match="cannot be written: File exists"):
        run_imp(SETTINGS, tmp_path / "file", Toy())


# ---------------------------------------------------------------------------------------------
# Other settings, other processes


@pytest.mark.parametrize(
    ("settings", "config", "difference"),
    [
        ({"amount": 0.2}, {}, r"imp\.amount was 0\.3, now 0\.2"),
        ({"rounds": 5}, {}, r"imp\.rounds was 3, now 5"),
        ({"rewind": "init"}, {}, r"imp\.rewind was 'pretrained', now 'init'"),
        ({"stem": True}, {}, r"imp\.stem was False, now True"),
        ({}, {"optimizer": {"lr": 0.2}}, r"config\.optimizer\.lr was 0\.1, now 0\.2"),
        ({}, {"optimizer": {"lr": 0.1, "wd": 1}}, r"config\.optimizer\.wd was None, now 1"),
        (
            {},
            {"pipeline": [{"type": "Load"}, {"type": "Flip", "p": 0.9}]},
            r"config\.pipeline\[1\]\.p was 0\.5, now 0\.9",
        ),
        ({}, {"pipeline": []}, r"config\.pipeline was \[.*\], now \[\]"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_touched(copied, settings, config, difference):
    before = contents(copied)
    asked = IMPSettings(**({"rounds": ROUNDS, "amount": 0.3} | settings))
    with pytest.raises(RunError, match=difference) as info:
        run_imp(asked, copied, Toy(at=forbidden), CONFIG | config)
    assert "use another work directory" in str(info.value)
    assert contents(copied) == before


def hold_until_told(directory: Path, ready, leave) -> None:
    with hold(directory):
        ready.set()
        leave.wait(30)


def test_a_second_process_is_refused_until_the_first_is_gone(undisturbed, copied):
    for ending in ("leaves", "is killed"):
        ready, leave = fork.Event(), fork.Event()
        first = fork.Process(target=hold_until_told, args=(copied, ready, leave))
        first.start()
        assert ready.wait(30)
        before = contents(copied)
        with pytest.raises(RunError, match=f"another process is at work in {copied}"):
            run_imp(SETTINGS, copied, Toy(at=forbidden), CONFIG)
        assert contents(copied) == before
        if ending == "leaves":
            leave.set()
        else:
            os.kill(first.pid, signal.SIGKILL)
        first.join(30)
        assert run_imp(SETTINGS, copied, Toy(at=forbidden), CONFIG) == undisturbed[1]


def hold_with_worker(directory: Path, pids) -> None:
    with hold(directory):
        worker = os.fork()
        if not worker:
            time.sleep(60)
            os._exit(0)
        pids.put(worker)
        time.sleep(60)


def test_a_data_loaders_worker_does_not_keep_the_lock_of_a_killed_run(copied):
    pids = fork.SimpleQueue()
    first = fork.Process(target=hold_with_worker, args=(copied, pids))
    first.start()
    worker = pids.get()
    try:
        time.sleep(0.05)  # the worker's own start
        with pytest.raises(RunError), hold(copied):
            pass
        os.kill(first.pid, signal.SIGKILL)
        first.join()  # without a time limit, which would wait for the worker's end of a pipe
        os.kill(worker, 0)  # it lives
        with hold(copied):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_the_lock_is_let_go_after_an_error(undisturbed, copied):
    for _ in range(2):
        with pytest.raises(RunError, match=r"imp\.amount"):
            run_imp(IMPSettings(ROUNDS, 0.5), copied, Toy(), CONFIG)
    descriptors = len(os.listdir("/proc/self/fd"))
    with hold(copied), pytest.raises(RunError, match="another process"):
        run_imp(SETTINGS, copied, Toy(), CONFIG)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert run_imp(SETTINGS, copied, Toy(at=forbidden), CONFIG) == undisturbed[1]


def test_other_ranks_compute_alike_and_write_nothing(undisturbed, copied, tmp_path):
    directory, results, _ = undisturbed
    assert run_imp(SETTINGS, copied, Toy(at=forbidden), CONFIG, is_main=False) == results
    # A rank in the middle of things: only the rewind weights are there, rank 0 wrote them.
    fresh = tmp_path / "fresh"
    fresh.mkdir()

    class Rank1(Toy):
        def train(self, level):
            trained = super().train(level)
            shutil.copy(directory / "rewind.safetensors", fresh)
            return trained

    assert run_imp(SETTINGS, fresh, Rank1(), CONFIG, is_main=False) == results
    assert set(contents(fresh)) == {"rewind.safetensors"}


def test_every_rank_goes_on_with_the_masks_of_rank_0(tmp_path):
    class Narrow(Toy):
        """What rank 0 says, as seen by this rank: the first output channel is gone."""

        def share(self, masks):
            shared = {name: mask.clone() for name, mask in masks.items()}
            for mask in shared.values():
                mask[0] = False
            return lth.MaskSet(shared)

    run_imp(IMPSettings(rounds=1), tmp_path, Narrow())
    assert not any(mask[0].any() for mask in ticket(tmp_path, 1).masks.values())


# ---------------------------------------------------------------------------------------------
# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", -1),
        ("rounds", 2.0),
        ("rounds", True),
        ("rounds", "3"),
        ("amount", 0),
        ("amount", 1),
        ("amount", -0.1),
        ("amount", 20),
        ("amount", float("nan")),
        ("amount", "0.2"),
        ("rewind", "pretrain"),
        ("rewind", None),
        ("rewind", "early"),  # without rewind_at
        ("rewind_at", "5%"),  # without rewind='early'
        ("criterion", "magnitud"),
        ("allocation", "globl"),
        ("first_prune", "never"),
        ("seed", 1.5),
        ("seed", None),
    ],
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ConfigError, match=field.removesuffix("_at")):
        IMPSettings(**({"rounds": 3} | {field: value}))


@pytest.mark.parametrize("point", ["5", "it", "-5it", "101%", "1e3it", "5 it", "5it5", 500, ""])
def test_wrong_points_are_refused(point):
    with pytest.raises(ConfigError, match="no point in training"):
        IMPSettings(rounds=3, rewind="early", rewind_at=point)
    with pytest.raises(ConfigError, match="first_prune"):
        IMPSettings(rounds=3, rewind="early", rewind_at="5%", first_prune="before")


numbers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.integers(10**300, 10**320).map(str),
    st.tuples(st.integers(0, 999), st.text("0123456789", min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]}.{parts[1]}"
    ),
)


@given(numbers, st.sampled_from(["it", "ep", "%"]), st.integers(1, 10**6), st.integers(1, 10**4))
def test_points_are_where_exact_arithmetic_puts_them(number, unit, total, per_epoch):
    if unit == "%" and Fraction(number) > 100:
        with pytest.raises(ConfigError):
            Point.parse(number + unit)
        return
    scale = {"it": Fraction(1), "ep": Fraction(per_epoch), "%": Fraction(total, 100)}[unit]
    exact = min(Fraction(number) * scale, Fraction(total))
    found = Point.parse(number + unit).iteration(total, per_epoch)
    assert 0 <= found <= total
    assert abs(found - exact) <= Fraction(1, 2) + Fraction(total, 10**12)


@given(st.text("0123456789.itep%-+ e\n٣", max_size=8) | st.text(max_size=6))
def test_only_numbers_with_a_unit_are_points(text):
    unit = next((unit for unit in ("it", "ep", "%") if text.endswith(unit)), None)
    parts = text[: -len(unit)].split(".") if unit else []
    digits = set("0123456789")
    valid = 1 <= len(parts) <= 2 and all(part and set(part) <= digits for part in parts)
    if valid and not (unit == "%" and float(".".join(parts)) > 100):
        point = Point.parse(text)
        assert (point.value, point.unit) == (float(".".join(parts)), unit)
    else:
        with pytest.raises(ConfigError):
            Point.parse(text)


def test_errors_of_tickets_and_runs_are_of_one_family():
    assert issubclass(RunError, LTHError)
    assert issubclass(TicketError, LTHError)
