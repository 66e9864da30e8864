"""What the study of transfer consists of: its jobs, and the number that each leaves.

Digits 0 to 4 stand for the pre-training data, digits 5 to 9 for the downstream task. Every seed has
pre-trainings, chains and trainings of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lth_core.openmmlab.jobs import CHECKPOINT, Chain, Job, Training
from study_plan import (
    ACCURACY,
    DENSE,
    EARLY,
    LOSS,
    NONE,
    ONE_SHOT,
    REINIT,
    REWIND,
    TASK,
    TRANSFERRED,
    Pretraining,
    Start,
    StudyPlan,
    common,
    imp,
    make_plan,
    place,
    pretrained,
    pretraining_jobs,
    record,
    sparsity_text,
    ticket_file,
    tickets,
)
from study_plan import Settings as StudySettings

OWNER = "tools/studies/transfer.py"
STAGES = ("pretrain", "imp", "task_imp", "transfer")

CHAIN, TRANSFER = "chain", "transfer"
"""What is trained downstream: levels of m_T's chain, and transfers, alike but for their start."""

DOWNSTREAM = "lth_cls::cls/study/transfer_fives_to_nines.py"

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

SECONDS = {"labels": (10.0, 36.0), "simclr": (19.0, 60.0), "mocov2": (19.0, 60.0)}
"""Of each pre-training and its chain."""

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
class Settings(StudySettings):
    """What can be varied about the study; the base says what the fields are."""

    rounds: int = 16
    amount: float = 0.2
    levels: tuple[int, ...] = (3, 4, 8, 10, 12, 14, 16)
    variant_levels: tuple[int, ...] = (3, 8, 12, 16)
    imp_epochs: int = 6


def build_plan(settings: Settings) -> StudyPlan:
    """The jobs of the study."""
    return make_plan(OWNER, STAGES, settings, _of_seed)


def _of_seed(settings: Settings, seed: int) -> Iterator[tuple[Job, Start | None]]:
    for job in pretraining_jobs(settings, seed, PRETRAININGS, SECONDS):
        yield job, None
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


def _task_chain(settings: Settings, seed: int, name: str) -> Job:
    """m_T: IMP on the downstream task."""
    files = {}
    options: dict[str, Any] = {}
    if name == NONE:
        options |= imp(settings, seed, "init")
    elif name == EARLY:
        options |= imp(settings, seed, "early", rewind_at="5%")
    else:
        options |= imp(settings, seed, "pretrained")
        # The backbone alone: the head of another task is no start for this one.
        options |= {
            "model.backbone.init_cfg.type": "Pretrained",
            "model.backbone.init_cfg.prefix": "backbone.",
        }
        files["model.backbone.init_cfg.checkpoint"] = (pretrained(seed, name), CHECKPOINT)
    title = PRETRAININGS[name].title if name in PRETRAININGS else {NONE: "θ0", EARLY: "θ5%"}[name]
    return Chain(
        stage="task_imp",
        path=place(seed, name),
        title=f"seed {seed} · m_T · {title}",
        config=DOWNSTREAM,
        options={**options, **record(CHAIN, name, TASK), **common(settings, "task_imp", seed)},
        files=files,
        outputs=(*tickets(settings), REWIND),
        seconds=45,
        like="task_imp",
        measure=ACCURACY,
    )


def _transfer(settings: Settings, seed: int, start: Start) -> Job:
    mask = start.mask
    if mask in VARIANTS or mask == REINIT:
        mask = TASK if start.weights == NONE else TRANSFERRED
    options = record(TRANSFER, start.weights, mask) | common(settings, "transfer", seed)
    chain = "imp" if start.weights in PRETRAININGS and start.mask != TASK else "task_imp"
    files = {"ticket.path": ticket_file(f"{chain}/seed_{seed}/{start.weights}", start)}
    if start.mask == REINIT:
        options |= {"ticket.weights": "reinit", "ticket.seed": seed}
    elif start.mask in VARIANTS:
        variant = dict(VARIANTS[start.mask])
        options["ticket.variant"] = variant | ({} if start.mask == "complement" else {"seed": seed})
        # Other weights survive than the ticket's.
        files["ticket.weights"] = (
            (pretrained(seed, start.weights), CHECKPOINT)
            if start.weights in PRETRAININGS
            else (f"task_imp/seed_{seed}/{start.weights}", REWIND)
        )
    title = PRETRAININGS[start.weights].title if start.weights in PRETRAININGS else "θ0"
    sparsity = f" {sparsity_text(start.level, settings.amount)}" if start.level else ""
    return Training(
        stage="transfer",
        path=place(seed, start.weights, f"{start.mask}_{start.level:02d}"),
        title=f"seed {seed} · {title} · {start.mask}{sparsity}",
        config=DOWNSTREAM,
        options=options,
        files=files,
        outputs=(CHECKPOINT,),
        seconds=2.5,
        like="transfer",
        measure=ACCURACY,
    )
