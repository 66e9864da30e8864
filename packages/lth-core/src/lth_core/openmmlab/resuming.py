"""Going on with a training exactly where its last whole checkpoint was written."""

from __future__ import annotations

import copy
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator

from lth_core.openmmlab.kept import AsIs
from lth_core.openmmlab.sampling import SeededBatches
from lth_core.randomness import restore_streams, stream_states

STREAMS_KEY = "lth_streams"
BATCHES_KEY = "lth_batches"
"""Of a checkpoint: how many batches an epoch has, on one process."""

"""Key of a checkpoint under which the random streams of all processes travel."""

_NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


def checkpoints(directory: str | Path) -> list[Path]:
    """The checkpoints in a work directory that a training can go on from, the last first."""
    found = [
        (int(match[1]), path)
        for path in Path(directory).glob("*.pth")
        if (match := _NUMBERED.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def last_whole(directory: str | Path) -> Path | None:
    """The last checkpoint in a work directory that is whole, None if there is none.

    Each part of a checkpoint file carries a CRC, which torch writes and does not look at.
    """
    return next((path for path in checkpoints(directory) if is_whole(path)), None)


def to_go_on_from(cfg: Mapping[str, Any], directory: str | Path) -> Path | None:
    """The checkpoint from which a broken-off training can be gone on with, exactly.

    Args:
        cfg: The training's config.
        directory: Its work directory.
    """
    hook = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    complete = hook.get("save_optimizer", True) and hook.get("save_param_scheduler", True)
    return last_whole(directory) if complete else None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file is neither cut short nor changed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False


def clear(directory: str | Path) -> None:
    """Removes the checkpoints of a training that is to begin again."""
    best = Path(directory).glob("best_*.pth")
    for path in [*checkpoints(directory), *best, Path(directory) / "last_checkpoint"]:
        path.unlink(missing_ok=True)


def gather_streams() -> list[dict[str, Any]]:
    """Where the random streams of every process stand, by rank; to be called by all of them."""
    gathered: list[dict[str, Any]] = all_gather_object(stream_states())
    return gathered


class StreamsHook(Hook):
    """Saves the random streams with each checkpoint, and keeps them from validations."""

    priority = "HIGHEST"  # before other hooks save the best checkpoint after a validation

    def __init__(self) -> None:
        self._before_validation: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Adds the streams, which the runner has gathered from all processes."""
        checkpoint[STREAMS_KEY] = runner.streams
        loader = runner.train_dataloader
        if isinstance(getattr(loader, "batch_sampler", None), SeededBatches):
            checkpoint[BATCHES_KEY] = _length(loader)

    def before_val_epoch(self, runner: Runner) -> None:
        """Every validation loads its data alike."""
        self._before_validation = stream_states()
        batches = getattr(runner.val_loop.dataloader, "batch_sampler", None)
        if isinstance(batches, SeededBatches):
            batches.epoch = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Training goes on as if there had been no validation."""
        if self._before_validation is not None:
            restore_streams(self._before_validation)
            self._before_validation = None


class ResumeHook(Hook):
    """Goes on where a checkpoint was written: random streams, the very batch, validation.

    mmengine saves before it validates; a training that was killed in between would go on without.
    """

    priority = "LOWEST"  # once the other hooks have put everything in place

    def __init__(self) -> None:
        self._streams: list[dict[str, Any]] | None = None
        self._batches: int | None = None
        self._resumed = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes the streams out of a checkpoint that is resumed from."""
        streams, batches = checkpoint.pop(STREAMS_KEY, None), checkpoint.pop(BATCHES_KEY, None)
        if runner._resume:
            self._resumed = True
            self._streams, self._batches = streams, batches

    def before_train(self, runner: Runner) -> None:
        """After a resume: validates, if that was due when the checkpoint was written."""
        loop = runner.train_loop
        if not self._resumed or not loop.iter or runner.val_loop is None:
            return
        if isinstance(loop, EpochBasedTrainLoop):
            done, last = loop.epoch, loop.max_epochs
            if loop.iter != done * len(loop.dataloader):
                return
        else:
            done, last = loop.iter, loop.max_iters
        if done >= loop.val_begin and (done % loop.val_interval == 0 or done == last):
            runner.logger.info("lth: validating what the checkpoint holds before going on")
            self._restore_streams()
            runner.val_loop.run()

    def before_train_epoch(self, runner: Runner) -> None:
        """After a resume: goes to the very batch, and restores the streams."""
        loop = runner.train_loop
        batches: Any = getattr(loop.dataloader, "batch_sampler", None)
        seeded = isinstance(batches, SeededBatches)
        if seeded and isinstance(loop, EpochBasedTrainLoop):
            batches.epoch = loop.epoch
        if not self._resumed:
            return
        self._resumed = False
        if seeded and isinstance(loop, IterBasedTrainLoop):
            loop.dataloader = _built_anew(runner, loop.dataloader)
            loop.dataloader_iterator = _From(loop.dataloader, loop.iter)
        elif seeded:
            length = len(loop.dataloader)
            # With other batches, or on another number of processes, no batch is that very one: the
            # epoch begins anew.
            alike = self._batches in (None, length)
            batches.skip = max(0, loop.iter - loop.epoch * length) if alike else 0
        self._restore_streams()

    def _restore_streams(self) -> None:
        rank = get_rank()
        if self._streams is not None and rank < len(self._streams):
            restore_streams(self._streams[rank])


def _built_anew(runner: Runner, dataloader: Any) -> Any:
    """A data loader of the same data set, of whose sampler nothing has been drawn yet.

    Endless samplers cannot be set back, and the loop has already begun to draw.
    """
    cfg = runner.cfg.get("train_dataloader")
    if cfg is None:
        return dataloader
    cfg = {**copy.deepcopy(cfg), "dataset": AsIs(dataloader.dataset)}
    differ = runner._randomness_cfg.get("diff_rank_seed", False)
    return runner.build_dataloader(cfg, seed=runner.seed, diff_rank_seed=differ)


class _From:
    """The batches of an endless training from one in the middle on.

    mmengine loads, and throws away, all batches before it: :meth:`__next__` answers for those
    with nothing, at once.
    """

    def __init__(self, dataloader: Any, iteration: int) -> None:
        self._to_skip = iteration
        batches = dataloader.batch_sampler
        length = _length(dataloader)
        epoch, skip = divmod(iteration, length) if length else (0, iteration)
        batches.epoch, batches.skip = epoch, skip
        sampler: Any = getattr(batches, "sampler", None)
        if epoch and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        self._endless = _InfiniteDataloaderIterator(dataloader)
        self._endless._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._to_skip:
            self._to_skip -= 1
            return None
        return next(self._endless)


def _length(dataloader: Any) -> int | None:
    """Batches in one pass of a loader that comes to an end, None of one that does not."""
    endless = type(getattr(dataloader.batch_sampler, "sampler", None)).__name__
    return None if "Infinite" in endless else len(dataloader)


def remove_parts(directory: str | Path) -> None:
    """Removes checkpoints that a killed process left half written."""
    if is_main_process():
        for part in Path(directory).glob(".*.part"):
            part.unlink(missing_ok=True)
