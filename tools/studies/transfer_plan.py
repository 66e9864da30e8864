"""What the study of transfer consists of: its jobs, and the number that each leaves.

Digits 0 to 4 stand for the pre-training data, digits 5 to 9 for the downstream task. Every seed has
pre-trainings, chains and trainings of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lth_core.errors import ConfigError
from lth_core.imp import TICKET
from lth_core.openmmlab.jobs import CHECKPOINT, LAST_ONLY, Chain, Job, Measure, Plan, Training
from lth_core.pruning import sparsity_after

OWNER = "tools/studies/transfer.py"
STAGES = ("pretrain", "imp", "task_imp", "transfer")

REWIND = "rewind.safetensors"
"""What a chain rewinds to, in its directory."""

DOWNSTREAM = "lth_cls::cls/study/transfer_fives_to_nines.py"
ACCURACY = Measure("accuracy/top1", "accuracy %")
LOSS = Measure("loss", "loss", digits=3)

NONE, EARLY = "none", "early"
"""Starts without pre-training: random weights, and those at 5 % of downstream training."""


@dataclass(frozen=True)
class Pretraining:
    """A way of pre-training.

    Attributes:
        title: What reports call it.
        config: The config that pre-trains.
        measure: What its own task is measured by.
        sign: 1 if more of that is better, -1 if less.
    """

    title: str
    config: str
    measure: Measure
    sign: int


PRETRAININGS = {
    "labels": Pretraining(
        "labels", "lth_cls::cls/study/pretrain_supervised_zeros_to_fours.py", ACCURACY, 1
    ),
    "simclr": Pretraining(
        "SimCLR", "lth_cls::cls/study/pretrain_simclr_zeros_to_fours.py", LOSS, -1
    ),
    "mocov2": Pretraining(
        "MoCo v2", "lth_cls::cls/study/pretrain_mocov2_zeros_to_fours.py", LOSS, -1
    ),
}

DENSE, TRANSFERRED, TASK = "dense", "transferred", "task"
ONE_SHOT, REINIT = "one_shot", "reinit"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "complement": {"type": "complement"},
    "random": {"type": "random", "match": "global"},
    "perturb": {"type": "perturb", "fraction": 0.1},
    "random_layer": {"type": "random", "match": "layer"},
    # Whole kernels: single weights in another order are a random mask of the layers' counts.
    "shuffle": {"type": "shuffle", "unit": "kernel"},
}
"""Masks derived from a ticket's. The first three are paper A's (Fig. 8); it has no others."""

PAPERS_VARIANTS = tuple(VARIANTS)[:3]


@dataclass(frozen=True)
class Settings:
    """What can be varied about the study.

    Args:
        seeds: Each of everything: pre-training, chains, masks and downstream training.
        rounds: Prunes of each chain.
        amount: Fraction of the remaining weights that each prune removes.
        levels: Levels that are transferred, and of one-shot masks.
        variant_levels: Levels whose masks are varied.
        imp_epochs: Length of a round on the pre-training tasks.
        overrides: Config settings by stage, dots between keys, on top of all others.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    rounds: int = 16
    amount: float = 0.2
    levels: tuple[int, ...] = (3, 4, 8, 10, 12, 14, 16)
    variant_levels: tuple[int, ...] = (3, 8, 12, 16)
    imp_epochs: int = 6
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.seeds) != len(set(self.seeds)) or not self.seeds:
            raise ConfigError(f"seeds are {self.seeds}; name each once, and one at least")
        if not all(1 <= level <= self.rounds for level in self.levels):
            raise ConfigError(f"levels are {self.levels}; they lie between 1 and {self.rounds}")
        if not set(self.variant_levels) <= set(self.levels):
            raise ConfigError("variant_levels must be among levels, to compare with")


@dataclass(frozen=True, order=True)
class Start:
    """What downstream training starts from.

    Attributes:
        weights: Whose values survive: a pre-training, ``none`` or ``early``.
        mask: ``dense``, ``transferred`` (m_P), ``task`` (m_T), ``one_shot``, ``reinit`` (m_P with
            fresh random values), or one of :data:`VARIANTS`; of m_P where weights are
            pre-trained, of m_T where they are random.
        level: Prunes behind the mask.
    """

    weights: str
    mask: str
    level: int


@dataclass(frozen=True, kw_only=True)
class StudyPlan(Plan):
    """The jobs of the study.

    Attributes:
        settings: What it was built from.
        seeds: Of jobs, by name.
        starts: Of downstream trainings, by name.
    """

    settings: Settings
    seeds: Mapping[str, int]
    starts: Mapping[str, Start]


def sparsity_text(level: int, amount: float) -> str:
    """Sparsity of a level, as ``73.79 %``."""
    return f"{100 * sparsity_after(level, amount):.2f} %"


def build_plan(settings: Settings) -> StudyPlan:
    """The jobs of the study."""
    jobs: dict[str, Job] = {}
    seeds: dict[str, int] = {}
    starts: dict[str, Start] = {}
    for seed in settings.seeds:
        for job, start in _of_seed(settings, seed):
            jobs[job.name] = job
            seeds[job.name] = seed
            if start is not None:
                starts[job.name] = start
    return StudyPlan(
        owner=OWNER, stages=STAGES, jobs=jobs, settings=settings, seeds=seeds, starts=starts
    )


def _of_seed(settings: Settings, seed: int) -> Iterator[tuple[Job, Start | None]]:
    for name in PRETRAININGS:
        yield _pretrain(settings, seed, name), None
        yield _chain(settings, seed, name), None
    for name in (*PRETRAININGS, NONE, EARLY):
        yield _task_chain(settings, seed, name), None
    # Each mask is trained once more, dense and m_T too: from one and the same head and order of
    # data, so that the differences within a seed are the masks'.
    for name in (*PRETRAININGS, NONE):
        for start in (Start(name, DENSE, 0), *(Start(name, TASK, k) for k in settings.levels)):
            yield _transfer(settings, seed, start), start
    for name in PRETRAININGS:
        for level in settings.levels:
            varied = (*VARIANTS, REINIT) if level in settings.variant_levels else ()
            for mask in (TRANSFERRED, ONE_SHOT, *varied):
                start = Start(name, mask, level)
                yield _transfer(settings, seed, start), start
    for level in settings.variant_levels:
        for mask in PAPERS_VARIANTS:
            start = Start(NONE, mask, level)
            yield _transfer(settings, seed, start), start


def _place(seed: int, *path: str) -> tuple[str, ...]:
    return (f"seed_{seed}", *path)


def _options(settings: Settings, stage: str, seed: int) -> dict[str, Any]:
    return {"randomness.seed": seed, **LAST_ONLY, **settings.overrides.get(stage, {})}


def _imp(settings: Settings, seed: int, rewind: str, **more: Any) -> dict[str, Any]:
    return {
        "imp": {
            "rounds": settings.rounds,
            "amount": settings.amount,
            "rewind": rewind,
            "seed": seed,
            **more,
        }
    }


def _tickets(settings: Settings) -> tuple[str, ...]:
    return tuple(f"level_{k:02d}/{TICKET}" for k in range(settings.rounds + 1))


def _pretrain(settings: Settings, seed: int, name: str) -> Job:
    return Training(
        stage="pretrain",
        path=_place(seed, name),
        title=f"seed {seed} · pretrain · {PRETRAININGS[name].title}",
        config=PRETRAININGS[name].config,
        options=_options(settings, "pretrain", seed),
        files={},
        outputs=(CHECKPOINT,),
        seconds=10 if name == "labels" else 19,
        like=f"pretrain {name}",
        measure=PRETRAININGS[name].measure,
    )


def _chain(settings: Settings, seed: int, name: str) -> Job:
    """m_P: IMP on the pre-training task, and the one-shot masks beside it."""
    one_shot = tuple(f"one_shot/level_{k:02d}.safetensors" for k in range(1, settings.rounds + 1))
    return Chain(
        stage="imp",
        path=_place(seed, name),
        title=f"seed {seed} · m_P · {PRETRAININGS[name].title}",
        config=PRETRAININGS[name].config,
        options={
            "train_cfg.max_epochs": settings.imp_epochs,
            **_imp(settings, seed, "pretrained"),
            **_options(settings, "imp", seed),
        },
        files={"load_from": (_pretrained(seed, name), CHECKPOINT)},
        outputs=(*_tickets(settings), *one_shot),
        seconds=36 if name == "labels" else 60,
        like=f"imp {name}",
        measure=PRETRAININGS[name].measure,
    )


def _task_chain(settings: Settings, seed: int, name: str) -> Job:
    """m_T: IMP on the downstream task."""
    files = {}
    options: dict[str, Any] = {}
    if name == NONE:
        options |= _imp(settings, seed, "init")
    elif name == EARLY:
        options |= _imp(settings, seed, "early", rewind_at="5%")
    else:
        options |= _imp(settings, seed, "pretrained")
        # The backbone alone: the head of another task is no start for this one.
        options |= {
            "model.backbone.init_cfg.type": "Pretrained",
            "model.backbone.init_cfg.prefix": "backbone.",
        }
        files["model.backbone.init_cfg.checkpoint"] = (_pretrained(seed, name), CHECKPOINT)
    title = PRETRAININGS[name].title if name in PRETRAININGS else {NONE: "θ0", EARLY: "θ5%"}[name]
    return Chain(
        stage="task_imp",
        path=_place(seed, name),
        title=f"seed {seed} · m_T · {title}",
        config=DOWNSTREAM,
        options={**options, **_options(settings, "task_imp", seed)},
        files=files,
        outputs=(*_tickets(settings), REWIND),
        seconds=45,
        like="task_imp",
        measure=ACCURACY,
    )


def _transfer(settings: Settings, seed: int, start: Start) -> Job:
    level = f"level_{start.level:02d}"
    options = _options(settings, "transfer", seed)
    chain = "imp" if start.weights in PRETRAININGS and start.mask != TASK else "task_imp"
    ticket = f"one_shot/{level}.safetensors" if start.mask == ONE_SHOT else f"{level}/{TICKET}"
    files = {"ticket.path": ("/".join((chain, *_place(seed, start.weights))), ticket)}
    if start.mask == REINIT:
        options |= {"ticket.weights": "reinit", "ticket.seed": seed}
    elif start.mask in VARIANTS:
        variant = dict(VARIANTS[start.mask])
        options["ticket.variant"] = variant | ({} if start.mask == "complement" else {"seed": seed})
        # Other weights survive than the ticket's.
        files["ticket.weights"] = (
            (_pretrained(seed, start.weights), CHECKPOINT)
            if start.weights in PRETRAININGS
            else (f"task_imp/seed_{seed}/{start.weights}", REWIND)
        )
    title = PRETRAININGS[start.weights].title if start.weights in PRETRAININGS else "θ0"
    sparsity = f" {sparsity_text(start.level, settings.amount)}" if start.level else ""
    return Training(
        stage="transfer",
        path=_place(seed, start.weights, f"{start.mask}_{start.level:02d}"),
        title=f"seed {seed} · {title} · {start.mask}{sparsity}",
        config=DOWNSTREAM,
        options=options,
        files=files,
        outputs=(CHECKPOINT,),
        seconds=2.5,
        like="transfer",
        measure=ACCURACY,
    )


def _pretrained(seed: int, name: str) -> str:
    return f"pretrain/seed_{seed}/{name}"
