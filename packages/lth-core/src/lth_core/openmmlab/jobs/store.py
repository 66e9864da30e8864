"""The work directory: what is finished, and whether it still fits what is asked for.

Each job has a directory of its own. ``metrics.json`` appears in it last of all, whole, and tells
what the result was made from; a job whose config or inputs have changed since is not finished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

import lth_core
from lth_core.errors import RunError
from lth_core.files import write_atomic
from lth_core.imp import METRICS, hold
from lth_core.openmmlab.jobs.job import Job, LevelRow, Outcome, Plan
from lth_core.openmmlab.launch import load_config

BEGUN, LOG = "job.json", "log.txt"


@dataclass(frozen=True)
class Result(Outcome):
    """What a finished job has left.

    Attributes:
        digest: Of all that it was made from.
        outputs: SHA-256 of the job's files.
    """

    digest: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


def config_digest(cfg: Config) -> str:
    """SHA-256 over the settings of a config."""
    return _sha256(cfg.to_dict())


def _of_others(path: Path) -> bool:
    """Whether a file is more than what is left of :data:`BEGUN` by a kill while it was written."""
    return not path.name.startswith(f".{BEGUN}.")


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class Store:
    """Results in a work directory.

    Args:
        root: The directory; absolute paths to it appear in configs.
        owner: The command whose results they are, for messages.
    """

    def __init__(self, root: str | Path, owner: str) -> None:
        self.root = Path(root).absolute()
        self.owner = owner
        self._configs: dict[str, str] = {}
        self._read: dict[str, str] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the directory, and keeps other processes out of it.

        Raises:
            RunError: If it cannot be made or written to, or another process is at work there.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunError(f"{self.root} cannot be made: {problem.strerror}") from None
        with hold(self.root):
            yield

    def directory(self, name: str) -> Path:
        """Where a job keeps its files."""
        return self.root / name

    def log(self, name: str) -> Path:
        """Where everything goes that a job would print."""
        return self.directory(name) / LOG

    def finished(self, plan: Plan) -> dict[str, Result]:
        """All results that are still what ``plan`` would give."""
        results: dict[str, Result] = {}
        for name in plan.order:
            job = plan.jobs[name]
            if job.installed and job.needs <= results.keys():
                result = self.read(job, self.digest(job, results))
                if result is not None:
                    results[name] = result
        return results

    def digest(self, job: Job, results: Mapping[str, Result]) -> str:
        """SHA-256 over all that the result of ``job`` follows from.

        Args:
            job: The job.
            results: At least those of the jobs that it needs.

        Raises:
            ConfigError: If the job's config cannot be read.
            RunError: If one of the files that it reads cannot.
        """
        source: dict[str, Any] = {
            "lth": lth_core.__version__,
            "config": self.config_digest(job),
            "options": job.options,
            "inputs": {
                key: [name, file, results[name].outputs[file]]
                for key, (name, file) in job.files.items()
            },
            "outputs": job.outputs,
        }
        if job.reads:
            source["reads"] = {key: self.file_digest(path) for key, path in job.reads.items()}
        return _sha256(source)

    def config_digest(self, job: Job) -> str:
        """SHA-256 over the config of ``job`` as it was when this object first saw it.

        Raises:
            ConfigError: If it cannot be read.
        """
        return self.config_digest_of(job.config)

    def config_digest_of(self, config: str) -> str:
        """The same by the config's own name."""
        if config not in self._configs:
            self._configs[config] = config_digest(load_config(config))
        return self._configs[config]

    def file_digest(self, path: str) -> str:
        """SHA-256 of a file as it was when this object first saw it.

        Raises:
            RunError: If it cannot be read.
        """
        if path not in self._read:
            try:
                self._read[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError as problem:
                raise RunError(f"{path} cannot be read: {problem.strerror}") from None
        return self._read[path]

    def read(self, job: Job, digest: str) -> Result | None:
        """The result of ``job`` if it was made from ``digest`` and its files verify, else None."""
        try:
            stored = json.loads((self.directory(job.name) / METRICS).read_text())
            stored["levels"] = tuple(LevelRow(**row) for row in stored["levels"])
            result = Result(**stored)
            sound = result.digest == digest and result.outputs == self._outputs(job)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return result if sound else None

    def begin(self, job: Job, digest: str) -> Path:
        """Makes the directory of ``job`` ready: empty, or as an interrupted run has left it.

        Raises:
            RunError: If something else is there.
        """
        directory = self.directory(job.name)
        begun = {"job": job.name, "digest": digest, "root": str(self.root)}
        try:
            before = json.loads((directory / BEGUN).read_text())
        except (OSError, ValueError):
            before = None
        if before is None and directory.exists() and any(map(_of_others, directory.iterdir())):
            raise RunError(
                f"{directory} is not empty, and not of {self.owner}; move it away, or use another "
                "--work-dir"
            )
        if directory.exists() and (before != begun or not job.resumable):
            shutil.rmtree(directory)
        (directory / METRICS).unlink(missing_ok=True)
        write_atomic(directory / BEGUN, json.dumps(begun, indent=2) + "\n")
        return directory

    def finish(self, job: Job, digest: str, outcome: Outcome) -> Result:
        """Adds the digests to ``outcome`` and makes it the job's result."""
        values = asdict(outcome) | {"digest": digest, "outputs": self._outputs(job)}
        directory = self.directory(job.name)
        write_atomic(directory / METRICS, json.dumps(values, indent=2) + "\n")
        return Result(**values | {"levels": outcome.levels})

    def _outputs(self, job: Job) -> dict[str, str]:
        directory = self.directory(job.name)
        return {
            file: hashlib.sha256((directory / file).read_bytes()).hexdigest()
            for file in job.outputs
        }
