"""What a training came to, and how long it took: measured, and written to files of results."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import VISBACKENDS
from mmengine.runner import Runner

from lth_core import results
from lth_core.errors import RunError
from lth_core.files import write_atomic
from lth_core.imp.directory import write
from lth_core.openmmlab.naming import Names
from lth_core.results import Result

SECONDS = "seconds.json"
"""File in a training's directory: how long it took."""

_FILES = ("LocalVisBackend", "TensorboardVisBackend")
"""Backends that add to what is in a directory."""

SECONDS_KEY = "lth_seconds"
"""Key of a checkpoint: how long the training had taken when it was written."""


_COCO, _ABSENT = "coco/", -1
"""How COCO's metrics say that the data hold no object of the size in question."""


class LastMetrics(Hook):
    """Remembers a training's last validation, or its last losses if it has none.

    A validation that came to nothing stays nothing: a loss is no number to compare with others'
    metrics. What COCO's metrics have no objects for is left out.

    Attributes:
        last: By their names.
        validated: Whether there was a validation.
    """

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.validated = False

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keeps the metrics."""
        self.validated = True
        if not metrics:
            runner.logger.warning(
                "lth: the validation came to no number (some metrics give none where nothing is "
                "found); if it is the last one, the training is recorded as lost"
            )
        self.last = {
            key: float(value)
            for key, value in (metrics or {}).items()
            if not (key.startswith(_COCO) and value == _ABSENT)
        }

    def after_train(self, runner: Runner) -> None:
        """Without a validation, keeps the mean of the last losses."""
        if not self.validated:
            self.last = {
                key.removeprefix("train/"): float(buffer.mean(window_size=50))
                for key, buffer in runner.message_hub.log_scalars.items()
                if key.startswith("train/") and "loss" in key
            }


class ClockHook(Hook):
    """Notes how long a training takes, over all the pieces that it was done in.

    Of a training that was broken off counts what its last checkpoint had taken; what was done
    after that is done again, and counts once.
    """

    priority = "LOWEST"  # after_train comes when the last validation is over

    def __init__(self) -> None:
        self._before = 0.0
        self._begun: float | None = None
        self._validated: str | None = None

    @property
    def seconds(self) -> float:
        """Wall time until now."""
        piece = 0.0 if self._begun is None else time.perf_counter() - self._begun
        return self._before + piece

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes over what the pieces before have taken."""
        before = checkpoint.pop(SECONDS_KEY, 0.0)
        if runner._resume:
            self._before = float(before)

    def before_run(self, runner: Runner) -> None:
        """All is built; the model is initialised next, or loaded."""
        runner.clock.turn("rewinding")

    def before_train(self, runner: Runner) -> None:
        """Starts the clock."""
        self._begun = time.perf_counter()
        runner.clock.turn("training")

    def before_val(self, runner: Runner) -> None:
        """Validations have a time of their own."""
        self._validated = runner.clock.turn("evaluating")

    def after_val(self, runner: Runner) -> None:
        """Gives it back."""
        runner.clock.turn(self._validated)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keeps the time with the training."""
        checkpoint[SECONDS_KEY] = self.seconds

    def after_train(self, runner: Runner) -> None:
        """Writes the time."""
        runner.clock.turn("saving")
        if is_main_process():
            write_atomic(Path(runner.work_dir) / SECONDS, json.dumps(self.seconds) + "\n")


def read_seconds(directory: Path) -> float | None:
    """How long the training in a directory took; None if that is not known."""
    try:
        return float(json.loads((directory / SECONDS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def results_of(
    root: Path, directory: Path, names: Names, seed: int, metrics: Mapping[str, float]
) -> list[Result]:
    """A training's numbers as its file of results is to hold them.

    Args:
        root: Where the file is.
        directory: Of the training, in ``root`` or the same.
        names: What it is called.
        seed: Of its randomness.
        metrics: What it came to. Of a training without validation, whose metrics are losses, the
            total is kept; of one that came to nothing, that it did so.
    """
    wanted = {"loss": metrics["loss"]} if _are_losses(metrics) else metrics
    wanted = wanted or {results.NOTHING: math.nan}
    seconds = read_seconds(directory)
    return [
        Result(
            task=names.task,
            weights=names.weights,
            mask=names.mask,
            level=names.level,
            sparsity=names.sparsity,
            seed=seed,
            metric=metric,
            value=float(value),
            variant=names.variant,
            seconds=None if seconds is None else round(seconds, 3),
            config=names.config,
            run=directory.relative_to(root).as_posix(),
        )
        for metric, value in wanted.items()
    ]


def record(root: Path, found: Sequence[Result]) -> bool:
    """Adds results to a directory's file of them, but those that are there already.

    A line that is damaged is left where it is, and said: a training must not end in it.

    Returns:
        Whether something was added.

    Raises:
        RunError: If the file cannot be read or written.
    """
    file = root / results.FILE
    known = {_timeless(each) for each in results.read_file(file, _say)}
    new = [each for each in found if _timeless(each) not in known]
    if new:
        results.append(file, new)
    return bool(new)


def restore(root: Path, found: Sequence[Result], later: Collection[str]) -> bool:
    """Makes a file that one run alone writes to begin with what is known of it.

    Args:
        root: Where the file is.
        found: What the run has come to so far.
        later: ``run`` of what it may have come to besides; the file's lines of them stay.

    Returns:
        Whether some of ``found`` was not there.

    Raises:
        RunError: If the file cannot be read or written.
    """
    file = root / results.FILE
    damage: list[RunError] = []
    there = results.read_file(file, damage.append)
    wanted = [*found, *(each for each in there if each.run in later)]
    lines, known = list(map(_timeless, wanted)), list(map(_timeless, there))
    if damage or known != lines[: len(known)]:
        for problem in damage:
            _say(problem)
        write(file, results.lines_of(wanted))
    elif len(known) < len(lines):
        results.append(file, wanted[len(known) :])
    return not set(map(_timeless, found)) <= set(known)


def _say(problem: RunError) -> None:
    MMLogger.get_current_instance().warning(f"lth: a line of results is damaged: {problem}")


def show(root: Path, cfg: Mapping[str, Any], scalars: Mapping[str, float], step: int) -> None:
    """Adds scalars to a directory's own ``vis_data``, beside those of the trainings in it.

    Args:
        root: The directory.
        cfg: Whose ``visualizer`` says what to write. Only backends that add to files are used:
            others would begin a run of their own each time.
        scalars: By name.
        step: Where along the axis.
    """
    visualizer = cfg.get("visualizer") or {}
    asked = visualizer.get("vis_backends") if isinstance(visualizer, Mapping) else None
    for each in asked or [{"type": _FILES[0]}]:
        if str(each["type"]).rpartition(".")[2] in _FILES:
            backend = VISBACKENDS.build({**each, "save_dir": str(root / "vis_data")})
            backend.add_scalars(dict(scalars), step=step)
            backend.close()


def _are_losses(metrics: Mapping[str, float]) -> bool:
    return "loss" in metrics and all("loss" in name for name in metrics)


def _timeless(result: Result) -> str:
    """All of a result but how long it took; text, since NaN is not equal to itself."""
    return repr(replace(result, seconds=None))
