"""What trainings are called in files of results: task, start weights, mask.

Names are taken from a config and its ticket, so that a dense training and those from tickets of
the same config are told apart by what differs between them. The config key ``record`` overrides
them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lth_core.imp.settings import IMPSettings
from lth_core.masks import MaskSet
from lth_core.openmmlab.settings import KEEP, REINIT, RecordSettings, TicketSettings
from lth_core.results import DENSE
from lth_core.ticket import Ticket
from lth_core.variant_kinds import Variant

RANDOM = "random"
"""Start weights that have not been trained."""

MASK_NAME, WEIGHTS_NAME = "mask_name", "weights_name"
"""Keys of a ticket's metadata: where its mask and its weights come from, for trainings from it."""

_UNTOLD = (
    "ticket", "imp", "record", "work_dir", "launcher", "resume", "load_from", "log_level",
    "log_processor", "visualizer", "vis_backends", "experiment_name", "filename",
    "runner_type", "custom_imports",
)  # fmt: skip
"""Top-level keys that do not change what one is compared with."""

_USUAL_AMOUNT = 0.2


@dataclass(frozen=True)
class Names:
    """What a training is called; see :class:`lth_core.results.Result`."""

    task: str
    weights: str
    mask: str
    level: int = 0
    sparsity: float = 0.0
    variant: str = ""
    config: str = ""


def names_of_training(
    cfg: Mapping[str, Any],
    record: RecordSettings,
    settings: TicketSettings | None = None,
    ticket: Ticket | None = None,
    masks: MaskSet | None = None,
) -> Names:
    """Of a training without rounds.

    Args:
        cfg: Its config.
        record: Names that are given.
        settings: The config's ``ticket``.
        ticket: What its file holds.
        masks: What the training really uses: the ticket's or a variant of them.
    """
    weights, mask, level, sparsity, variant = start_of(cfg), DENSE, 0, 0.0, ""
    if settings is not None and ticket is not None and masks is not None:
        if settings.weights is None:
            if ticket.weights is not None:
                weights = str(ticket.meta.get(WEIGHTS_NAME) or _source(ticket) or weights)
        elif settings.weights == REINIT:
            weights = RANDOM
        elif settings.weights != KEEP:
            weights = stem(settings.weights)
        sparsity = masks.sparsity
        if sparsity > 0:
            mask = _mask_name(settings, ticket)
            level = max(1, _level(ticket))
            variant = variant_name(settings.variant)
    return Names(
        record.task or task_of(cfg),
        record.weights or weights,
        mask if mask == DENSE else record.mask or mask,
        level,
        sparsity,
        variant,
        comparison_digest(cfg),
    )


def names_of_chain(cfg: Mapping[str, Any], record: RecordSettings, settings: IMPSettings) -> Names:
    """Of a chain; level and sparsity are its levels' own."""
    task = record.task or task_of(cfg)
    start = start_of(cfg)
    if settings.rewind == "early":
        start = f"{start}, {settings.rewind_at}"
    elif settings.rewind == "reinit":
        start = RANDOM
    mask = record.mask or f"imp on {task}"
    return Names(task, record.weights or start, mask, config=comparison_digest(cfg))


def task_of(cfg: Mapping[str, Any]) -> str:
    """Data set and model: ``VOC FCOS``, ``Digits ImageClassifier``."""
    loader = cfg.get("train_dataloader") or cfg.get("val_dataloader") or {}
    data = loader.get("dataset") if isinstance(loader, Mapping) else None
    kinds = dict.fromkeys(_data_sets(data))
    model = cfg.get("model")
    kind = str(model.get("type", "")) if isinstance(model, Mapping) else type(model).__name__
    return " ".join(filter(None, ["+".join(kinds), kind.rpartition(".")[2]]))


def _data_sets(node: Any) -> Iterator[str]:
    """Names of the data sets inside of wrappers such as ConcatDataset."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _data_sets(item)
    elif isinstance(node, Mapping):
        inner = [node[key] for key in ("dataset", "datasets") if key in node]
        if inner:
            yield from _data_sets(inner)
        elif "type" in node:
            kind = node["type"]
            name = kind if isinstance(kind, str) else kind.__name__
            name = name.rpartition(".")[2]
            yield name.removesuffix("Dataset") or name


def start_of(cfg: Mapping[str, Any]) -> str:
    """What the backbone starts from: the name of a checkpoint, or ``random``."""
    if cfg.get("load_from"):
        return stem(cfg["load_from"])
    found = _loaded(cfg.get("model"))
    return RANDOM if found is None else stem(found)


def _loaded(node: Any) -> Any:
    """The first checkpoint that a model's parts load, the backbone's before others."""
    if isinstance(node, (list, tuple)):
        return next((found for item in node if (found := _loaded(item)) is not None), None)
    if not isinstance(node, Mapping):
        return None
    if isinstance(node.get("pretrained"), str):
        return node["pretrained"]
    if "Pretrained" in str(node.get("type")) and node.get("checkpoint"):
        return node["checkpoint"]
    keys = sorted(node, key=lambda key: (key != "backbone", key != "init_cfg"))
    return next((found for key in keys if (found := _loaded(node[key])) is not None), None)


def stem(place: Any) -> str:
    """A file's or a download's name without folders and endings."""
    name = str(place).rstrip("/").rpartition("/")[2]
    return name.partition(".")[0] or name


def variant_name(variant: Variant | None) -> str:
    """``random``, ``perturb fraction=0.05``: the kind, and what is not as usual about it.

    Not its seed: another seed is another run.
    """
    if variant is None:
        return ""
    usual = {each.name: each.default for each in fields(variant)}
    unusual = [
        f"{name}={stem(value) if name == 'among' else value}"
        for name, value in variant.settings().items()
        if name not in ("type", "seed") and value != usual[name]
    ]
    return " ".join([variant.type, *unusual])


def comparison_digest(cfg: Mapping[str, Any]) -> str:
    """Of what trainings that are compared should have in common: all but start, mask and seed."""
    to_dict = getattr(cfg, "to_dict", None)
    plain = dict(to_dict() if to_dict is not None else cfg)
    kept = {key: value for key, value in plain.items() if key not in _UNTOLD}
    if isinstance(kept.get("randomness"), Mapping):
        kept["randomness"] = {k: v for k, v in kept["randomness"].items() if k != "seed"}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _mask_name(settings: TicketSettings, ticket: Ticket) -> str:
    meta = ticket.meta
    if meta.get("one_shot"):
        criterion = str(meta.get("criterion") or "")
        return f"one-shot {criterion}".strip()
    if meta.get(MASK_NAME):
        return str(meta[MASK_NAME])
    if meta.get("run"):
        return f"imp {meta['run']}"
    if meta.get("source"):
        return "imported"
    return stem(settings.path)


def _source(ticket: Ticket) -> str | None:
    """Which checkpoint the weights of a ticket are of, that is none of a chain's."""
    meta = ticket.meta
    known = meta.get("weights") or (meta.get("source") if meta.get("one_shot") else None)
    return None if known is None else stem(known)


def _level(ticket: Ticket) -> int:
    """Its number, else that of the usual level of about its sparsity."""
    level = ticket.meta.get("level")
    if type(level) is int and level >= 0:
        return level
    density = 1 - ticket.masks.sparsity
    return round(math.log(density) / math.log(1 - _USUAL_AMOUNT)) if density > 0 else 1
