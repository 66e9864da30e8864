"""What the study of double-win tickets consists of (paper C).

Every seed has pre-trainings, chains, portions of the data and trainings of its own. Tickets come
from IMP on the pre-training task, under the same kind of training as pre-training, and are trained
on the downstream task in the standard way and adversarially, with all data and with little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from double_win_audit import Audit
from lth_core.openmmlab.jobs import CHECKPOINT, Job, Measure, Training
from study_plan import (
    DENSE,
    TRANSFERRED,
    Pretraining,
    Start,
    StudyPlan,
    common,
    make_plan,
    place,
    pretrained,
    pretraining_jobs,
    record,
    sparsity_text,
    ticket_file,
)
from study_plan import Settings as StudySettings

OWNER = "tools/studies/double_win.py"
STANDARD, ADVERSARIAL, AUDIT = "standard", "adversarial", "audit"
STAGES = ("pretrain", "imp", STANDARD, ADVERSARIAL, AUDIT)

PLACE = "lth_cls::cls/study/double_win"
CONFIGS = {
    STANDARD: f"{PLACE}/transfer_standard.py",
    ADVERSARIAL: f"{PLACE}/transfer_adversarial.py",
}

SA = Measure("accuracy/top1", "SA %")
RA = Measure("accuracy/top1/pgd-20", "RA %")
"""Accuracy on images as they are, and under PGD of 20 steps."""

PRETRAININGS = {
    "standard": Pretraining("standard", f"{PLACE}/pretrain_standard.py", SA, 1),
    "fast": Pretraining("fast adversarial", f"{PLACE}/pretrain_fast.py", RA, 1),
    "pgd": Pretraining("adversarial (PGD)", f"{PLACE}/pretrain_pgd.py", RA, 1),
}

SECONDS = {"standard": (20.0, 65.0), "fast": (30.0, 83.0), "pgd": (45.0, 110.0)}
"""Of each pre-training and its chain."""

RANDOM = "random"

OTHER = {"standard": "pgd", "fast": "standard", "pgd": "fast"}
"""The pre-training behind the network whose perturbations are transferred to each in the audit."""


@dataclass(frozen=True)
class Portion:
    """How much of the downstream data there is.

    Attributes:
        title: What reports call it.
        share: Of the images of each class, one at least.
        batch: Images of an update.
        epochs: As many as make the same number of updates for all portions.
        seconds: How long a standard and an adversarial training may take.
    """

    title: str
    share: float
    batch: int
    epochs: int
    seconds: tuple[float, float]


PORTIONS = {
    "all": Portion("100 %", 1.0, 50, 10, (4.5, 9.0)),
    # 68 images: two updates an epoch.
    "tenth": Portion("10 %", 0.1, 34, 65, (4.0, 7.5)),
    # One image of each class, the least that there can be: 0.75 %.
    "hundredth": Portion("1 %", 0.01, 5, 130, (3.0, 5.0)),
}


@dataclass(frozen=True)
class Settings(StudySettings):
    """What can be varied about the study; the base says what the fields are.

    ``variant_levels`` are those with random masks beside the tickets.
    """

    rounds: int = 19
    amount: float = 0.2
    levels: tuple[int, ...] = (2, 4, 6, 9, 13, 19)
    variant_levels: tuple[int, ...] = (6, 13)
    imp_epochs: int = 6


def task_of(training: str, portion: str) -> str:
    """What a training downstream is called in rows and files of results."""
    return f"{training} {PORTIONS[portion].title}"


def build_plan(settings: Settings) -> StudyPlan:
    """The jobs of the study."""
    return make_plan(OWNER, STAGES, settings, _of_seed)


def _of_seed(settings: Settings, seed: int) -> Iterator[tuple[Job, Start | None]]:
    # Paper C's: every convolution, the first mask of the weights as given.
    how = {"stem": True, "first_prune": "before"}
    for job in pretraining_jobs(settings, seed, PRETRAININGS, SECONDS, **how):
        yield job, None
    for name in PRETRAININGS:
        starts = [Start(name, DENSE, 0)]
        starts += [Start(name, TRANSFERRED, level) for level in settings.levels]
        starts += [Start(name, RANDOM, level) for level in settings.variant_levels]
        for start in starts:
            for portion in PORTIONS:
                for training in CONFIGS:
                    yield _transfer(settings, seed, start, training, portion), start
        yield _audit(settings, seed, name), Start(name, DENSE, 0)


def _transfer(settings: Settings, seed: int, start: Start, training: str, portion: str) -> Job:
    data = PORTIONS[portion]
    chain = f"imp/seed_{seed}/{start.weights}"
    options: dict[str, Any] = {
        "train_dataloader.batch_size": data.batch,
        "train_dataloader.dataset.images": data.share,
        "train_dataloader.dataset.seed": seed,
        "train_cfg.max_epochs": data.epochs,
        **record(task_of(training, portion), start.weights, TRANSFERRED),
        **common(settings, training, seed),
    }
    files = {"ticket.path": ticket_file(chain, start)}
    if start.mask == RANDOM:
        options["ticket.variant"] = {"type": "random", "match": "global", "seed": seed}
        # Other weights survive than the ticket's.
        files["ticket.weights"] = (pretrained(seed, start.weights), CHECKPOINT)
    sparsity = f" {sparsity_text(start.level, settings.amount)}" if start.level else ""
    return Training(
        stage=training,
        path=place(seed, start.weights, portion, f"{start.mask}_{start.level:02d}"),
        title=f"seed {seed} · {PRETRAININGS[start.weights].title} · "
        f"{task_of(training, portion)} · {start.mask}{sparsity}",
        config=CONFIGS[training],
        options=options,
        files=files,
        outputs=(CHECKPOINT,),
        seconds=data.seconds[training == ADVERSARIAL],
        like=f"{training} {portion}",
        measure=RA if training == ADVERSARIAL else SA,
    )


def _audit(settings: Settings, seed: int, name: str) -> Job:
    """Attacks the dense network after adversarial training with all data, by other means."""
    network, other = (
        "/".join((ADVERSARIAL, *place(seed, each, "all", f"{DENSE}_00")))
        for each in (name, OTHER[name])
    )
    return Audit(
        stage=AUDIT,
        path=place(seed, name),
        title=f"seed {seed} · audit · {PRETRAININGS[name].title}",
        config=f"{PLACE}/audit.py",
        options={"randomness.seed": seed, **settings.overrides.get(AUDIT, {})},
        files={
            "load_from": (network, CHECKPOINT),
            "test_cfg.attacks.transferred.checkpoint": (other, CHECKPOINT),
        },
        outputs=(),
        seconds=30,
        like=AUDIT,
    )
