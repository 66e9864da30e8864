"""Features of pruned networks, judged by a linear classifier on another task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lth_core.analysis import natural_sparsity
from lth_core.masks import MaskSet
from lth_core.openmmlab.jobs import Job, LevelRow, Outcome
from lth_core.openmmlab.models import build_model
from lth_core.pruning import sparsity_after
from lth_core.scope import prunable
from lth_core.weights import read_state, restore
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

METRIC, ZEROS = "accuracy", "zeros"


@dataclass(frozen=True, kw_only=True)
class Features(Job):
    """Trains a linear classifier on the frozen features of every level's network.

    Attributes:
        amount: Fraction of the remaining weights that each level has lost.
    """

    amount: float

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Measures all levels; see :meth:`lth_core.openmmlab.jobs.Job.do`."""
        begun = time.perf_counter()
        options = dict(self.options)
        seed = options.pop("seed")
        cfg.merge_from_dict(options)
        train, test = (_batches(cfg, name, seed) for name in ("train", "val"))
        model = build_model(cfg, cfg.model).eval()
        scope = MaskSet.ones(model, prunable(model, stem=True))
        rows = []
        for level, file in sorted(files.items()):
            at = time.perf_counter()
            state = read_state(file)
            kept = {name: state[name] for name in model.state_dict() if _is_backbone(name)}
            restore(model, {**model.state_dict(), **kept})
            right = linear_accuracy(*_features(model, train), *_features(model, test))
            index = int(level[-2:])
            # Of the dense network these are the zeros that training itself has made.
            zeros, _ = natural_sparsity(kept, scope)
            metrics = {METRIC: 100 * right, ZEROS: 100 * zeros}
            sparsity = sparsity_after(index, self.amount)
            rows.append(LevelRow(index, sparsity, metrics, time.perf_counter() - at))
        return Outcome({}, time.perf_counter() - begun, rows[-1].sparsity, tuple(rows))

    def text(self, outcome: Outcome) -> str:
        """What the dense and the sparsest network's features come to."""
        first, last = (outcome.levels[k].metrics[METRIC] for k in (0, -1))
        return f"accuracy {first:.2f} % dense, {last:.2f} % at the last level"


def linear_accuracy(
    features: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    test_features: npt.NDArray[np.float64],
    test_labels: npt.NDArray[np.int64],
) -> float:
    """Share of the test samples that a linear classifier of the features tells right.

    Args:
        features: ``(N, C)``.
        labels: ``(N,)``.
        test_features: ``(M, C)``.
        test_labels: ``(M,)``.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(features, labels)
    return float(classifier.score(test_features, test_labels))


def _is_backbone(name: str) -> bool:
    return name.startswith("backbone.")


def _batches(cfg: Config, which: str, seed: int) -> list[Any]:
    """All batches of a data set, drawn alike for every network."""
    set_random_seed(seed)
    loader = {**cfg[f"{which}_dataloader"], "drop_last": False}
    return list(Runner.build_dataloader(loader, seed=seed))


@torch.no_grad()
def _features(
    model: Any, batches: list[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    features, labels = [], []
    for batch in batches:
        prepared = model.data_preprocessor(batch, False)
        features.append(model.extract_feat(prepared["inputs"])[-1].double().numpy())
        labels += [int(sample.gt_label) for sample in prepared["data_samples"]]
    return np.concatenate(features), np.array(labels)
