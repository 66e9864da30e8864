"""How tickets are looked for: the settings of a run, and those of the papers by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from lth_core.allocation import get_allocation
from lth_core.errors import ConfigError
from lth_core.imp.finish import Finish
from lth_core.imp.point import Point
from lth_core.scores import require_known

REWINDS = {
    "pretrained": "the weights that level 0 starts from, which must come from a checkpoint",
    "init": "the same, from random initialisation",
    "early": "level 0's weights at `rewind_at`",
    "dense": "level 0's weights at its end, or at its best validation if that is kept",
    "reinit": "a fresh random initialisation, another at each level",
    "lr": "their trained values; the schedule starts again",
    "none": "their trained values; the schedule goes on (fine-tuning)",
}
"""What survivors are reset to before a level."""

CARRIED = ("optimizer", "schedule")
"""What may be carried over from one level's training to the next."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Algorithm 1 of paper A: every round trains, prunes 20 % and rewinds.
    "paper-a": {"rounds": 18, "rewind": "pretrained"},
    # Its downstream tasks' theta_5% start (main_imp_downstream.py, rewind_lt).
    "paper-a-early": {"rounds": 18, "rewind": "early", "rewind_at": "5%"},
    # The other starts of its downstream tasks (--prune_type lt, pt, pt_trans).
    "paper-a-lt": {"rounds": 18, "rewind": "init"},
    "paper-a-pt": {"rounds": 18, "rewind": "dense"},
    "paper-a-pt-trans": {"rounds": 18, "rewind": "pretrained"},
    # What its code does on ImageNet labels: the first mask is taken of the weights as given.
    "paper-a-code": {"rounds": 18, "rewind": "pretrained", "first_prune": "before"},
    # And on SimCLR: momentum is carried over, and the projection head is never rewound.
    "paper-a-code-simclr": {
        "rounds": 18,
        "rewind": "pretrained",
        "first_prune": "before",
        "carry": CARRIED,
        "keep": ("neck.*", "head.*"),
    },
    # And on MoCo: momentum and the queue of negatives are carried over.
    "paper-a-code-moco": {
        "rounds": 18,
        "rewind": "pretrained",
        "first_prune": "before",
        "carry": CARRIED,
        "keep": ("queue", "queue_ptr"),
    },
    # Paper B, section 3: everything but the last layer, early weights, on ImageNet and CIFAR-10.
    "paper-b": {
        "rounds": 30,
        "rewind": "early",
        "rewind_at": "3.84Msamples",
        "stem": True,
        "kinds": ("conv", "linear"),
    },
    "paper-b-cifar10": {
        "rounds": 30,
        "rewind": "early",
        "rewind_at": "1ep",
        "stem": True,
        "kinds": ("conv", "linear"),
    },
    "paper-b-reinit": {
        "rounds": 30,
        "rewind": "reinit",
        "stem": True,
        "kinds": ("conv", "linear"),
    },
    # Paper C's code: every convolution, the first mask of the weights as given.
    "paper-c": {"rounds": 19, "rewind": "pretrained", "stem": True, "first_prune": "before"},
}
"""Settings of the papers, by name; any field can be set besides and wins."""


@dataclass(frozen=True)
class IMPSettings:
    """How tickets are looked for.

    Args:
        rounds: Number of prunes; levels 0 ... rounds are trained.
        amount: Fraction of the remaining weights that each prune removes.
        rewind: What survivors are reset to before each level; see :data:`REWINDS`.
        rewind_at: With ``"early"``: the point in training, as ``500it``, ``2ep``,
            ``3.84Msamples`` or ``5%``.
        criterion: Score by which weights are ranked.
        batches: Batches of training data for a criterion that needs data.
        allocation: How removals spread over layers.
        stem: Whether the stem convolution is pruned too (papers B and C).
        kinds: Which layers are in scope: ``"conv"``, ``"linear"``.
        backbone: The part of the model whose weights are in scope, as ``"text_encoder"``; None for
            the one that :func:`lth_core.scope.backbone_prefix` finds.
        first_prune: ``"after"`` a full training at level 0 (paper A's Algorithm 1), or
            ``"before"`` any training, on the weights given (what its code does on pre-training
            tasks; level 0 is then only evaluated).
        carry: What a level takes over from the training of the level before: ``"optimizer"``
            (momentum and the like, zero where pruned), ``"schedule"`` (learning rates go on where
            they were; one without an end of its own is spread over all levels). None: nothing,
            but with ``rewind="none"`` the schedule, which stays at the end of level 0's.
        keep: Tensors of the model that are never rewound, but keep their trained values; shell
            patterns of their names, as ``"queue*"`` (MoCo's negatives in paper A's code).
        finish: When a level between level 0 and the last may end before its schedule does; None:
            never. See :mod:`lth_core.imp.finish`.
        seed: Seed of whatever draws random numbers.

    Raises:
        ConfigError: If a value is out of range, or two contradict each other.
    """

    rounds: int
    amount: float = 0.2
    rewind: str = "pretrained"
    rewind_at: str | None = None
    criterion: str = "magnitude"
    batches: int = 1
    allocation: str = "global"
    stem: bool = False
    kinds: tuple[str, ...] = ("conv",)
    backbone: str | None = None
    first_prune: str = "after"
    carry: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    finish: Finish | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.rounds) is not int or self.rounds < 0:
            raise ConfigError(f"imp.rounds is {self.rounds!r}; it must be a whole number >= 0")
        if not isinstance(self.amount, (int, float)) or not 0 < self.amount < 1:
            raise ConfigError(f"imp.amount is {self.amount!r}; it must lie between 0 and 1")
        if self.rewind not in REWINDS:
            raise ConfigError(f"imp.rewind is {self.rewind!r}; choose from {', '.join(REWINDS)}")
        if (self.rewind == "early") != (self.rewind_at is not None):
            raise ConfigError("imp.rewind_at goes with rewind='early', as '500it', '2ep' or '5%'")
        if self.rewind_at is not None:
            Point.parse(self.rewind_at)
        for name, least in (("seed", None), ("batches", 1)):
            value = getattr(self, name)
            if type(value) is not int or (least is not None and value < least):
                raise ConfigError(
                    f"imp.{name} is {value!r}; it must be a whole number"
                    + (f" >= {least}" if least is not None else "")
                )
        if self.first_prune not in ("after", "before"):
            raise ConfigError(f"imp.first_prune is {self.first_prune!r}; use 'after' or 'before'")
        if self.first_prune == "before" and self.rewind in ("early", "dense"):
            raise ConfigError(
                f"imp.rewind={self.rewind!r} needs level 0 trained: first_prune='after'"
            )
        if self.backbone is not None and not (isinstance(self.backbone, str) and self.backbone):
            raise ConfigError(f"imp.backbone is {self.backbone!r}; name a part of the model")
        require_known(self.criterion)
        get_allocation(self.allocation)
        self._check_carried()
        self._check_finish()

    def _check_carried(self) -> None:
        for name in ("carry", "keep"):
            value = getattr(self, name)
            if value is not None and not _is_texts(value):
                raise ConfigError(f"imp.{name} is {value!r}; it must be a list of names")
        unknown = [name for name in self.carry or () if name not in CARRIED]
        if unknown:
            raise ConfigError(f"imp.carry names {unknown[0]!r}; choose from {', '.join(CARRIED)}")
        if self.rewind == "lr" and "schedule" in (self.carry or ()):
            raise ConfigError("imp.rewind='lr' starts the schedule again; use 'none' to carry it")
        if self.rewind == "none" and "schedule" not in self.carried:
            raise ConfigError("imp.rewind='none' carries the schedule; use 'lr' to start it again")

    def _check_finish(self) -> None:
        if self.finish is None:
            return
        if not isinstance(self.finish, Finish):
            raise ConfigError(f"imp.finish is {self.finish!r}; write dict(type='reach'), or None")
        for name, fits, wanted in (
            ("rewind", self.rewind not in ("none", "lr"), "one that goes back to other weights"),
            ("carry", not self.carry, "None"),
            ("keep", not self.keep, "()"),
            ("first_prune", self.first_prune == "after", "'after'"),
            ("criterion", self.criterion == "magnitude", "'magnitude'"),
            ("allocation", self.allocation == "global", "'global'"),
        ):
            if not fits:
                raise ConfigError(
                    f"imp.{name} is {getattr(self, name)!r}; imp.finish needs {wanted}, for it "
                    "looks at magnitudes' global mask, and nothing else may depend on how long a "
                    "level trains"
                )

    @property
    def carried(self) -> tuple[str, ...]:
        """``carry`` with its default filled in."""
        if self.carry is None:
            return ("schedule",) if self.rewind == "none" else ()
        return self.carry

    @property
    def has_one_shot_control(self) -> bool:
        """Whether magnitudes of the pre-trained weights themselves are a control of the chain."""
        return self.rewind == "pretrained" and self.criterion == "magnitude"

    def keeps(self, name: str) -> bool:
        """Whether the tensor of this name is never rewound."""
        return any(fnmatchcase(name, pattern) for pattern in self.keep)

    @classmethod
    def from_preset(cls, preset: str, **fields: Any) -> IMPSettings:
        """The settings of a paper; ``fields`` win over its own.

        Raises:
            ConfigError: If there is no such preset, or the settings are no good.
        """
        return cls(**preset_fields(preset) | fields)


def preset_fields(preset: str) -> dict[str, Any]:
    """What a preset sets.

    Raises:
        ConfigError: If there is none of that name.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"imp.preset is {preset!r}; choose from {', '.join(PRESETS)}")
    return dict(PRESETS[preset])


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
