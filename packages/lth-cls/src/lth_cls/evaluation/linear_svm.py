"""Linear support vector machines on features, one for each class, as Goyal et al. train them.

Goyal, Mahajan, Gupta and Misra: Scaling and benchmarking self-supervised visual representation
learning (ICCV 2019), whom paper B follows. What is taken is their released code's, ``tools/svm`` of
facebookresearch/fair_self_supervision_benchmark: features of length 1, squared hinge loss,
positives weighted 2, and costs by 3-fold cross-validation on average precision for every class by
itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from lth_core.errors import ConfigError
from lth_core.openmmlab.embedded import DataError
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

Floats = npt.NDArray[np.float64]

COSTS = (*(10.0**power for power in range(-7, 3)), *(0.5**power for power in range(4, 20)))
"""Those of the commands in Goyal et al.'s guide: 1e-7 to 100, and 2^-4 to 2^-19."""

_TINY = 1e-5  # added to lengths, as in their code


@dataclass(frozen=True)
class SVMSettings:
    """How the machines are trained; the defaults are Goyal et al.'s.

    Args:
        costs: The values of C to choose from; the first of equally good ones is taken. One alone is
            taken without cross-validation.
        folds: Of the cross-validation, stratified, in the order of the data.
        positive_weight: By how much an image that shows the class weighs more than one that does
            not.
        tolerance: Of the solver.
        iterations: At most so many of the solver. It solves the primal problem where there are
            more images than features, and the dual one elsewhere; theirs always the dual one, which
            has the same solution and takes longer.
        seed: Of the solver.
        jobs: Processes; -1 for as many as there are cores.

    Raises:
        ConfigError: If a value is out of range.
    """

    costs: Sequence[float] = COSTS
    folds: int = 3
    positive_weight: float = 2.0
    tolerance: float = 1e-4
    iterations: int = 2000
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        if not self.costs or not all(_is_positive(cost) for cost in self.costs):
            raise ConfigError(f"linear SVM: costs={self.costs!r}; give numbers above 0")
        for name in ("positive_weight", "tolerance"):
            if not _is_positive(getattr(self, name)):
                raise ConfigError(f"linear SVM: {name}={getattr(self, name)!r}; use one above 0")
        for name, least in (("folds", 2), ("iterations", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(
                    f"linear SVM: {name}={value!r}; use a whole number from {least} on"
                )
        if type(self.jobs) is not int or (self.jobs < 1 and self.jobs != -1):
            raise ConfigError(f"linear SVM: jobs={self.jobs!r}; use a number from 1 on, or -1")


@dataclass(frozen=True)
class LinearSVMs:
    """Trained machines.

    Attributes:
        weights: ``(classes, channels)``.
        biases: ``(classes,)``.
        costs: What was chosen for each class.
        validated: Average precision of that in the cross-validation, NaN without one.
    """

    weights: Floats
    biases: Floats
    costs: tuple[float, ...]
    validated: tuple[float, ...]

    def scores(self, features: npt.ArrayLike) -> Floats:
        """Distances to each class's boundary, ``(N, classes)``, of ``(N, channels)`` features."""
        scores: Floats = normalised(features) @ self.weights.T + self.biases
        return scores


def normalised(features: npt.ArrayLike) -> Floats:
    """Features of length 1, ``(N, channels)``; one of length 0 stays."""
    plain = np.asarray(features, np.float64)
    unit: Floats = plain / (np.linalg.norm(plain, axis=1, keepdims=True) + _TINY)
    return unit


def train_svms(
    features: npt.ArrayLike,
    targets: npt.ArrayLike,
    settings: SVMSettings | None = None,
    classes: Sequence[str] | None = None,
) -> LinearSVMs:
    """Trains one machine for each class.

    Args:
        features: ``(N, channels)``; are brought to length 1.
        targets: ``(N, classes)``: above 0 where an image shows a class, 0 where not, below 0 where
            the image is left out of the class.
        settings: How.
        classes: Their names, for messages.

    Raises:
        DataError: If features are not finite, or a class has fewer images, or fewer others, than
            there are folds.
    """
    settings = settings or SVMSettings()
    plain = normalised(features)
    wanted = np.asarray(targets)
    if not np.isfinite(plain).all():
        raise DataError("the features are not all finite: the checkpoint's training has diverged")
    names = [f"class {place}" for place in range(wanted.shape[1])] if classes is None else classes
    for name, column in zip(names, wanted.T, strict=True):
        least = min(int((column > 0).sum()), int((column == 0).sum()))
        if least < settings.folds:
            raise DataError(
                f"linear SVM: {name} has {int((column > 0).sum())} images to train with and "
                f"{int((column == 0).sum())} others, which is too few for {settings.folds} folds"
            )
    work = Parallel(n_jobs=settings.jobs)
    fitted = work(delayed(_train_one)(plain, column, settings) for column in wanted.T)
    weights, biases, costs, validated = zip(*fitted, strict=True)
    return LinearSVMs(np.stack(weights), np.array(biases), costs, validated)


def _train_one(
    features: Floats, target: npt.NDArray[np.int64], settings: SVMSettings
) -> tuple[Floats, float, float, float]:
    """Weights, bias, cost, and what the cost was chosen by."""
    counted = target >= 0
    features, labels = features[counted], np.where(target[counted] > 0, 1, -1)
    cost, validated = float(settings.costs[0]), float("nan")
    with warnings.catch_warnings():
        # As in Goyal et al.'s code, the largest costs may stop at the last iteration.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if len(settings.costs) > 1:
            found = [
                cross_val_score(
                    _machine(each, settings),
                    features,
                    labels,
                    cv=settings.folds,
                    scoring="average_precision",
                ).mean()
                for each in settings.costs
            ]
            best = int(np.argmax(found))
            cost, validated = float(settings.costs[best]), float(found[best])
        machine = _machine(cost, settings).fit(features, labels)
    return machine.coef_[0], float(machine.intercept_[0]), cost, validated


def _machine(cost: float, settings: SVMSettings) -> LinearSVC:
    return LinearSVC(
        C=cost,
        class_weight={1: settings.positive_weight, -1: 1.0},
        penalty="l2",
        loss="squared_hinge",
        dual="auto",
        tol=settings.tolerance,
        max_iter=settings.iterations,
        random_state=settings.seed,
    )


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")  # type: ignore[operator]
