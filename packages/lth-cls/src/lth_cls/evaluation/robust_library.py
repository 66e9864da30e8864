"""AutoAttack (Croce and Hein 2020) and Square (Andriushchenko et al. 2020).

Both are their authors' code, the package ``pyautoattack``, which ``pip install "lth-cls[robust]"``
brings.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lth_core.errors import ConfigError
from lth_core.openmmlab.settings import strict
from lth_core.randomness import borrowed, seed_at
from mmengine.logging import print_log
from torch import Tensor

from lth_cls.evaluation.robust_attacks import PROGRESS_SECONDS, Attack, Images
from lth_cls.evaluation.victim import Victim

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""AutoAttack's standard set, in its order."""

REDUCED = "-reduced"
"""What is added to the name of an AutoAttack or Square that does less than the papers'."""

STEPS, QUERIES = 100, 5000
"""Of the standard set's attacks by gradients, and of Square."""

TARGETS = 9
"""Wrong classes that targeted attacks aim at, one after the other: the likeliest."""

_LEAST_FOR_DLR = 4
"""Classes that the loss of apgd-t needs."""


@dataclass(frozen=True)
class AutoAttack:
    """``dict(type='AutoAttack')``: AutoAttack's standard set, L∞.

    An image counts as right if none of the attacks changes that. Beside the accuracy after all of
    them, that after each one is a metric, ``accuracy/top1/NAME-apgd-ce`` and so on. Where attacks,
    steps or queries are fewer than in the standard set, NAME gets ``-reduced`` added.

    With fewer than ten classes targeted attacks aim at all wrong ones, which are fewer than the
    usual nine; with fewer than four apgd-t, whose loss needs four, is left out, and NAME is
    ``-reduced`` too. Random numbers depend on the run's seed and on how images are batched.

    Args:
        eps: Radius of the ball, of pixels from 0 to 1.
        attacks: Of ``apgd-ce``, ``apgd-t``, ``fab-t`` and ``square``.
        steps: Of each of the first three.
        queries: Of Square.

    Raises:
        ConfigError: If a field is out of range, or pyautoattack is not installed.
    """

    eps: float = 8 / 255
    attacks: tuple[str, ...] = STANDARD
    steps: int = STEPS
    queries: int = QUERIES

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", tuple(self.attacks))
        unknown = [each for each in self.attacks if each not in STANDARD]
        if unknown or not self.attacks or len(set(self.attacks)) < len(self.attacks):
            raise ConfigError(f"AutoAttack: attacks is {self.attacks}; choose from {STANDARD}")
        _check(type(self).__name__, self.eps, steps=self.steps, queries=self.queries)

    @property
    def reduced(self) -> bool:
        """Whether it does less than the standard set."""
        return len(self.attacks) < len(STANDARD) or self.steps < STEPS or self.queries < QUERIES


@dataclass(frozen=True)
class Square:
    """``dict(type='Square')``: random squares, which need no gradient.

    Args:
        eps: Radius of the ball, of pixels from 0 to 1.
        queries: How often the model is asked about an image; fewer than the usual 5,000 add
            ``-reduced`` to the name.
        restarts: How often the search begins.

    Raises:
        ConfigError: If a field is out of range, or pyautoattack is not installed.
    """

    eps: float = 8 / 255
    queries: int = QUERIES
    restarts: int = 1

    def __post_init__(self) -> None:
        _check(type(self).__name__, self.eps, queries=self.queries, restarts=self.restarts)

    @property
    def attacks(self) -> tuple[str, ...]:
        """Itself."""
        return ("square",)

    @property
    def reduced(self) -> bool:
        """Whether it asks less often than usual."""
        return self.queries < QUERIES


KINDS: Mapping[str, type[AutoAttack | Square]] = {"AutoAttack": AutoAttack, "Square": Square}


def build(name: str, kind: str, fields: Mapping[str, Any]) -> Attack:
    """The attack of a config.

    Args:
        name: Of its metrics.
        kind: Of :data:`KINDS`.
        fields: Of its settings.

    Raises:
        ConfigError: If a field is malformed, or pyautoattack is not installed.
    """
    settings = strict(KINDS[kind], fields, kind)
    _library()
    return _OfLibrary(name, settings)


class _OfLibrary(Attack):
    """Attacks one after the other, each on the images that are still right."""

    def __init__(self, name: str, settings: AutoAttack | Square) -> None:
        super().__init__(name)
        self.settings = settings
        self._told: set[str] = set()

    def __call__(self, victim: Victim, images: Images) -> dict[str, Tensor]:
        """See the base class."""
        scores = victim(images.pixels)
        classes = scores.shape[1]
        attacks = [each for each in self.settings.attacks if _suits(each, classes)]
        reduced = self.settings.reduced or len(attacks) < len(self.settings.attacks)
        base = self.name + REDUCED * reduced
        self._explain(base, classes, attacks)
        right, begun = scores.argmax(1) == images.labels, time.monotonic()
        changed, found = images.pixels.clone(), {}
        for each in attacks:
            left = right.nonzero().flatten()
            if len(left):
                labels = images.labels[left]
                moved = self._run(each, victim, images.pixels[left], labels, images, classes)
                fooled = victim(moved).argmax(1) != labels
                changed[left[fooled]] = moved[fooled]
                right[left[fooled]] = False
            if isinstance(self.settings, AutoAttack):
                found[f"{base}-{each}"] = changed.clone()
            if time.monotonic() - begun > PROGRESS_SECONDS:  # a batch may take hours
                begun = time.monotonic()
                kept = f"{int(right.sum()):,} of {len(right):,} images of the batch"
                print_log(f"lth: {base}: after {each} {kept} still right", logger="current")
        return {**found, base: changed}

    def _run(
        self, attack: str, victim: Victim, pixels: Tensor, labels: Tensor, images: Images,
        classes: int,
    ) -> Tensor:  # fmt: skip
        with borrowed(device=pixels.device), _untraced(), self._warnings():
            library = _library().AutoAttack(
                victim,
                attacks=[attack],
                device=pixels.device,
                eps=self.settings.eps,
                norm="Linf",
                seed=seed_at(images.seed, self.name, attack, images.places[0]),
                version="custom",
            )
            if isinstance(self.settings, AutoAttack):
                steps = self.settings.steps
                for each in (library.apgd, library.apgd_targeted, library.fab):
                    each.n_iter = steps
                    each.n_restarts = 1  # the standard set's
                for each in (library.apgd, library.apgd_targeted):
                    # When it looks back on its steps, a share of them, as in its constructor.
                    each.n_iter_2 = max(int(0.22 * steps), 1)
                    each.n_iter_min = max(int(0.06 * steps), 1)
                    each.size_decr = max(int(0.03 * steps), 1)
                for each in (library.apgd_targeted, library.fab):
                    each.n_target_classes = min(TARGETS, classes - 1)
            else:
                library.square.n_restarts = self.settings.restarts
            library.square.n_queries = self.settings.queries
            moved: Tensor
            moved, _ = library.run_standard_evaluation(pixels, labels, batch_size=len(pixels))
            return moved

    def _explain(self, base: str, classes: int, attacks: list[str]) -> None:
        """Says once what differs from the standard set."""
        if isinstance(self.settings, AutoAttack):
            if len(attacks) < len(self.settings.attacks):
                self._tell(f"{base}: apgd-t needs {_LEAST_FOR_DLR} classes; there are {classes}")
            elif classes <= TARGETS:
                self._tell(
                    f"{base}: targeted attacks aim at all {classes - 1} wrong classes; the "
                    f"standard set has {TARGETS}"
                )
        if base != self.name:
            what = "the standard set" if isinstance(self.settings, AutoAttack) else "usual"
            self._tell(f"{base}: less than {what}; no number to compare with published ones")

    def _tell(self, text: str) -> None:
        kind = re.sub(r"\d+", "", text)
        if kind not in self._told:
            self._told.add(kind)
            print_log(f"lth: {text}", logger="current", level=logging.WARNING)

    @contextmanager
    def _warnings(self) -> Iterator[None]:
        """Brings what the library warns of into the log, each warning once."""
        logger = logging.getLogger("auto-attack")
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._tell(f"{self.name}: {record.getMessage()}")  # type: ignore[method-assign]
        before = logger.propagate
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.propagate = before
            logger.removeHandler(handler)


def _suits(attack: str, classes: int) -> bool:
    return attack != "apgd-t" or classes >= _LEAST_FOR_DLR


@contextmanager
def _untraced() -> Iterator[None]:
    """Puts back what looks on (debuggers, coverage): the library takes its place and leaves."""
    before = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(before)


def _check(kind: str, eps: Any, **numbers: Any) -> None:
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 < eps <= 1:
        raise ConfigError(f"{kind}: eps is {eps!r}; use a number above 0 up to 1, as 8/255")
    for name, number in numbers.items():
        if type(number) is not int or number < 1:
            raise ConfigError(f"{kind}: {name} is {number!r}; use a whole number above 0")


def _library() -> Any:
    """The module ``pyautoattack``.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module("pyautoattack")
    except ModuleNotFoundError:
        raise ConfigError(
            'AutoAttack and Square need pyautoattack: pip install "lth-cls[robust]"'
        ) from None
