"""What the study of scenes consists of: its jobs, and the numbers that each leaves.

Backbones are pre-trained on single digits; the downstream tasks are detection and segmentation of
digit scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lth_core.errors import ConfigError
from lth_core.openmmlab.demo.plan import PICTURED, TRUTH, Pictures
from lth_core.openmmlab.jobs import CHECKPOINT, Chain, Job, Measure, Training
from study_plan import (
    ACCURACY,
    DENSE,
    LOSS,
    NONE,
    ONE_SHOT,
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

OWNER = "tools/studies/scenes.py"
STAGES = ("pretrain", "imp", "task_imp", "det", "seg", "pictures")

RANDOM = "random"

PRETRAININGS = {
    "labels": Pretraining("labels", "lth_cls::cls/pretrain_supervised_digits.py", ACCURACY, 1),
    "simclr": Pretraining("SimCLR", "lth_cls::cls/pretrain_simclr_digits.py", LOSS, -1),
    "mocov2": Pretraining("MoCo v2", "lth_cls::cls/pretrain_mocov2_digits.py", LOSS, -1),
}

SECONDS = {"labels": (14.0, 17.0), "simclr": (25.0, 30.0), "mocov2": (25.0, 30.0)}


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        title: What reports call it.
        config: The config that trains it.
        measures: What it is measured by, what claims go by first.
        seconds: How long a training may take on one core.
    """

    title: str
    config: str
    measures: tuple[Measure, ...]
    seconds: float


TASKS = {
    "det": Task(
        "detection",
        "lth_det::det/study/scenes_fcos.py",
        (
            Measure("pascal_voc/mAP", "AP", 100.0),
            Measure("pascal_voc/AP50", "AP50", 100.0),
        ),
        10.0,
    ),
    "seg": Task(
        "segmentation",
        "lth_seg::seg/study/scenes_deeplabv3plus.py",
        (Measure("mIoU", "mIoU"),),
        12.0,
    ),
}


@dataclass(frozen=True)
class Settings(StudySettings):
    """What can be varied about the study; the base says what the other fields are.

    One prune of 48.8 % is three of 20 %: the levels are on paper A's ladder.

    Args:
        task_specific: Pre-trainings with m_T of their own, in the order of all. A chain takes as
            long as six trainings.
    """

    rounds: int = 5
    amount: float = 0.488
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)
    variant_levels: tuple[int, ...] = (3, 5)
    imp_epochs: int = 6
    task_specific: tuple[str, ...] = ("labels",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.task_specific or not set(self.task_specific) <= PRETRAININGS.keys():
            known = ", ".join(PRETRAININGS)
            raise ConfigError(f"task_specific is {self.task_specific}; name some of {known}")


def build_plan(settings: Settings) -> StudyPlan:
    """The jobs of the study."""
    return make_plan(OWNER, STAGES, settings, _of_seed)


def _of_seed(settings: Settings, seed: int) -> Iterator[tuple[Job, Start | None]]:
    for job in pretraining_jobs(settings, seed, PRETRAININGS, SECONDS):
        yield job, None
    for task in TASKS:
        start = Start(NONE, DENSE, 0)
        yield _train(settings, seed, task, start), start
        for name in PRETRAININGS:
            if name in settings.task_specific:
                # Its levels are measured too: level 0 is dense, the others (m_T, θ_P).
                yield _task_chain(settings, seed, task, name), None
            else:
                start = Start(name, DENSE, 0)
                yield _train(settings, seed, task, start), start
            for level in settings.levels:
                controls = (ONE_SHOT, RANDOM) if level in settings.variant_levels else ()
                for mask in (TRANSFERRED, *controls):
                    start = Start(name, mask, level)
                    yield _train(settings, seed, task, start), start
        if seed == settings.seeds[0]:
            yield _pictures(settings, seed, task), None


def _task_chain(settings: Settings, seed: int, task: str, name: str) -> Job:
    """m_T: IMP on the downstream task; each round goes back to θ_P, and to the first head."""
    # All that the checkpoint and the model both have is the backbone. Loading it afterwards leaves
    # the head the values that it has in the trainings from tickets.
    return Chain(
        stage="task_imp",
        path=place(seed, task, name),
        title=f"seed {seed} · {task} · m_T · {PRETRAININGS[name].title}",
        config=TASKS[task].config,
        options={
            **imp(settings, seed, "pretrained"),
            **record(task, name, TASK),
            **common(settings, task, seed),
        },
        files={"load_from": (pretrained(seed, name), CHECKPOINT)},
        outputs=(*tickets(settings), f"level_00/{CHECKPOINT}"),
        seconds=(settings.rounds + 1) * TASKS[task].seconds,
        like=f"{task} task_imp",
        measure=TASKS[task].measures[0],
    )


def _train(settings: Settings, seed: int, task: str, start: Start) -> Job:
    mask = TRANSFERRED if start.mask == RANDOM else start.mask
    options = record(task, start.weights, mask) | common(settings, task, seed)
    files: dict[str, tuple[str, str]] = {}
    title = "θ0"
    if start.weights in PRETRAININGS:
        title = PRETRAININGS[start.weights].title
        files["ticket.path"] = ticket_file(f"imp/seed_{seed}/{start.weights}", start)
        if start.mask == RANDOM:
            options["ticket.variant"] = {"type": "random", "match": "global", "seed": seed}
            # Other weights survive than the ticket's.
            files["ticket.weights"] = (pretrained(seed, start.weights), CHECKPOINT)
    sparsity = f" {sparsity_text(start.level, settings.amount)}" if start.level else ""
    return Training(
        stage=task,
        path=place(seed, start.weights, f"{start.mask}_{start.level:02d}"),
        title=f"seed {seed} · {task} · {title} · {start.mask}{sparsity}",
        config=TASKS[task].config,
        options=options,
        files=files,
        outputs=(CHECKPOINT,),
        seconds=TASKS[task].seconds,
        like=task,
        measure=TASKS[task].measures[0],
    )


def pictures_of(task: str) -> str:
    """Name of the job that draws what models find."""
    return f"pictures/{task}"


def _pictures(settings: Settings, seed: int, task: str) -> Job:
    """Test scenes with what three of the first seed's models find in them."""
    name, level = settings.task_specific[0], f"{settings.variant_levels[0]:02d}"
    files: Mapping[str, Any] = {
        DENSE: (f"task_imp/seed_{seed}/{task}/{name}", f"level_00/{CHECKPOINT}"),
        "ticket": (f"{task}/seed_{seed}/{name}/{TRANSFERRED}_{level}", CHECKPOINT),
        RANDOM: (f"{task}/seed_{seed}/{name}/{RANDOM}_{level}", CHECKPOINT),
    }
    return Pictures(
        stage="pictures",
        path=(task,),
        title=f"pictures of {TASKS[task].title}",
        config=TASKS[task].config,
        options={},
        files=files,
        outputs=tuple(f"{i}_{column}.jpg" for i in range(PICTURED) for column in (TRUTH, *files)),
        seconds=3,
    )
