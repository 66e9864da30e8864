"""What the study of pruning with self-supervision consists of (paper B).

Every seed has chains, masks and trainings of its own. A chain prunes on its pruning task; its
masks are trained on labels afterwards, its pruned networks give features, and are trained on
another task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lth_core.openmmlab.jobs import CHECKPOINT, Chain, Job, Measure, Training
from self_supervision_features import Features
from study_plan import (
    ACCURACY,
    LOSS,
    NONE,
    REINIT,
    REWIND,
    Pretraining,
    Start,
    StudyPlan,
    common,
    imp,
    make_plan,
    place,
    record,
    sparsity_text,
    tickets,
)
from study_plan import Settings as StudySettings

OWNER = "tools/studies/self_supervision.py"
STAGES = ("prune", "clock", "labels", "features", "other", "other_imp")

PLACE = "lth_cls::cls/study/pretext"
LABELS, OTHER = f"{PLACE}/labels.py", f"{PLACE}/other_digits.py"

PRUNING = {
    "labels": Pretraining("Labels", LABELS, ACCURACY, 1),
    "rotnet": Pretraining(
        "RotNet", f"{PLACE}/rotnet.py", Measure("rotation/top1", "accuracy %"), 1
    ),
    "exemplar": Pretraining("Exemplar", f"{PLACE}/exemplar.py", LOSS, -1),
    "npid": Pretraining("NPID", f"{PLACE}/npid.py", LOSS, -1),
    "s4l": Pretraining("S4L", f"{PLACE}/s4l.py", Measure("label_accuracy/top1", "accuracy %"), 1),
    "few_labels": Pretraining("10 % of labels", f"{PLACE}/few_labels.py", ACCURACY, 1),
}
"""Pruning tasks."""

SELF_SUPERVISED = ("rotnet", "exemplar", "npid")

SECONDS = {
    "labels": 85.0, "rotnet": 105.0, "exemplar": 100.0, "npid": 70.0, "s4l": 200.0,
    "few_labels": 65.0,
}  # fmt: skip
"""Of each chain."""

REWIND_AT = {"few_labels": "500samples"}
"""Where survivors are rewound to: one epoch (paper B on CIFAR-10), of all images that is 500."""

CLOCKS = {"epochs": "1ep", "samples": "500samples", "updates": "10it", "share": "10%"}
"""Rewind points with 10 % of the labels, each with one thing as in the run on all labels (Fig. 7).

On all labels an epoch is ten updates of 50 images, a tenth of the training.
"""

WINNING, RANDOM = "winning", "random"
PRE_PRUNED, PRUNED_LATER = "pre_pruned", "pruned_later"
DEPTHS = ("conv1", "layer1", "layer2", "layer3")
"""How far into the network layer-wise tickets are pruned (Figs. 4 and 9), beside the whole."""
LAYER_WISE = ("labels", "rotnet")
"""Pruning tasks whose tickets are trained layer-wise."""

FINE_TUNED = ("rotnet", "exemplar")
"""Pruning tasks whose networks are trained on the other task (Fig. 2)."""


@dataclass(frozen=True)
class Settings(StudySettings):
    """What can be varied about the study; the base says what the fields are.

    ``levels`` are those at which masks are trained, ``variant_levels`` those of networks that are
    fine-tuned.
    """

    rounds: int = 20
    amount: float = 0.2
    levels: tuple[int, ...] = (4, 8, 12, 16, 20)
    variant_levels: tuple[int, ...] = (4, 8, 12, 16)
    imp_epochs: int = 10

    @property
    def deep(self) -> int:
        """The level of layer-wise tickets: the last but one, if there are two."""
        return self.levels[-2:][0]


def up_to(last: str) -> str:
    """The mask that is pruned up to a part of the network."""
    return f"up_to_{last}"


def build_plan(settings: Settings) -> StudyPlan:
    """The jobs of the study."""
    return make_plan(OWNER, STAGES, settings, _of_seed)


def _of_seed(settings: Settings, seed: int) -> Iterator[tuple[Job, Start | None]]:
    for name in PRUNING:
        yield _chain(settings, seed, "prune", name, name, REWIND_AT.get(name, "1ep")), None
        yield _features(settings, seed, name), None
    for clock, at in CLOCKS.items():
        if at != REWIND_AT["few_labels"]:
            yield _chain(settings, seed, "clock", clock, "few_labels", at), None
    for name in PRUNING:
        for mask in (WINNING, REINIT):
            for level in (0, *settings.levels) if mask == WINNING else settings.levels:
                start = Start(name, mask, level)
                yield _on_labels(settings, seed, start, f"prune/seed_{seed}/{name}"), start
        if name in LAYER_WISE:
            for last in DEPTHS:
                start = Start(name, up_to(last), settings.deep)
                yield _on_labels(settings, seed, start, f"prune/seed_{seed}/{name}"), start
    for level in settings.levels:
        start = Start(NONE, RANDOM, level)
        yield _on_labels(settings, seed, start, f"prune/seed_{seed}/labels"), start
        for clock, at in CLOCKS.items():
            if at != REWIND_AT["few_labels"]:
                start = Start(clock, WINNING, level)
                yield _on_labels(settings, seed, start, f"clock/seed_{seed}/{clock}"), start
    for name in FINE_TUNED:
        yield _later(settings, seed, name), None
        for level in settings.variant_levels:
            start = Start(name, PRE_PRUNED, level)
            yield _fine_tuning(settings, seed, start), start


def _finals(settings: Settings) -> tuple[str, ...]:
    """The trained networks of a chain, in its directory."""
    return tuple(f"level_{k:02d}/{CHECKPOINT}" for k in range(settings.rounds + 1))


def _chain(
    settings: Settings, seed: int, stage: str, name: str, pruning: str, rewind_at: str
) -> Job:
    """IMP on a pruning task, the stem too, rewinding to an early point."""
    options = imp(settings, seed, "early", rewind_at=rewind_at, stem=True)
    # Ten times fewer images, and half the batch: five times the epochs make as many updates.
    epochs = settings.imp_epochs * (5 if pruning == "few_labels" else 1)
    what = PRUNING[pruning].title + (f", rewound to equal {name}" if stage == "clock" else "")
    return Chain(
        stage=stage,
        path=place(seed, name),
        title=f"seed {seed} · pruning · {what}",
        config=PRUNING[pruning].config,
        options={
            "train_cfg.max_epochs": epochs,
            **options,
            **record(f"{stage} {name}", name, WINNING),
            **common(settings, stage, seed),
        },
        files={},
        outputs=(*tickets(settings), *_finals(settings), REWIND),
        seconds=SECONDS[pruning],
        like=f"prune {pruning}",
        measure=PRUNING[pruning].measure,
    )


def _on_labels(settings: Settings, seed: int, start: Start, chain: str) -> Job:
    """Trains a mask on labels: from the early weights of its chain, or from fresh ones."""
    mask = RANDOM if start.mask == RANDOM else WINNING
    options = record("labels", start.weights, mask) | common(settings, "labels", seed)
    files = {"ticket.path": (chain, f"level_{start.level:02d}/ticket.safetensors")}
    for last in DEPTHS:
        if start.mask == up_to(last):
            options["ticket.variant"] = {"type": "up_to", "last": last}
            # What is kept behind it has no values in the ticket.
            files["ticket.weights"] = (chain, REWIND)
    if start.mask in (REINIT, RANDOM):
        options |= {"ticket.weights": "reinit", "ticket.seed": seed}
    if start.mask == RANDOM:
        options["ticket.variant"] = {"type": "random", "match": "global", "seed": seed}
    title = PRUNING[start.weights].title if start.weights in PRUNING else start.weights
    return Training(
        stage="labels",
        path=place(seed, start.weights, f"{start.mask}_{start.level:02d}"),
        title=f"seed {seed} · labels · {title} · {start.mask} "
        f"{sparsity_text(start.level, settings.amount)}",
        config=LABELS,
        options={"train_cfg.max_epochs": settings.imp_epochs, **options},
        files=files,
        outputs=(CHECKPOINT,),
        seconds=4,
        like="labels",
        measure=ACCURACY,
    )


def _features(settings: Settings, seed: int, name: str) -> Job:
    """Linear classifiers on what each level's trained network gives, on another task."""
    chain = f"prune/seed_{seed}/{name}"
    return Features(
        stage="features",
        path=place(seed, name),
        title=f"seed {seed} · features · {PRUNING[name].title}",
        config=OTHER,
        options={"seed": seed, **settings.overrides.get("features", {})},
        files={f"level_{k:02d}": (chain, file) for k, file in enumerate(_finals(settings))},
        outputs=(),
        seconds=15,
        like="features",
        amount=settings.amount,
    )


def _fine_tuning(settings: Settings, seed: int, start: Start) -> Job:
    """Trains a network that was pruned in pre-training on the other task."""
    chain, level = f"prune/seed_{seed}/{start.weights}", f"level_{start.level:02d}"
    return Training(
        stage="other",
        path=place(seed, start.weights, f"{start.mask}_{start.level:02d}"),
        title=f"seed {seed} · other digits · {PRUNING[start.weights].title} "
        f"{sparsity_text(start.level, settings.amount)}",
        config=OTHER,
        options=record("other", start.weights, start.mask) | common(settings, "other", seed),
        files={
            "ticket.path": (chain, f"{level}/ticket.safetensors"),
            "ticket.weights": (chain, f"{level}/{CHECKPOINT}"),
        },
        outputs=(CHECKPOINT,),
        seconds=3,
        like="other",
        measure=ACCURACY,
    )


def _later(settings: Settings, seed: int, name: str) -> Job:
    """Prunes on the other task, from the dense pre-trained network."""
    shorter: Mapping[str, Any] = {"rounds": max(settings.variant_levels)}
    options = imp(settings, seed, "pretrained", stem=True)
    options["imp"] |= shorter
    return Chain(
        stage="other_imp",
        path=place(seed, name),
        title=f"seed {seed} · pruning on other digits · {PRUNING[name].title}",
        config=OTHER,
        options={
            **options,
            **record("other", name, PRUNED_LATER),
            # The backbone alone: the head of another task is no start for this one.
            "model.backbone.init_cfg.type": "Pretrained",
            "model.backbone.init_cfg.prefix": "backbone.",
            **common(settings, "other_imp", seed),
        },
        files={
            "model.backbone.init_cfg.checkpoint": (
                f"prune/seed_{seed}/{name}",
                f"level_00/{CHECKPOINT}",
            )
        },
        outputs=tickets(settings)[: max(settings.variant_levels) + 1],
        seconds=55,
        like="other_imp",
        measure=ACCURACY,
    )
