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

from lth_core.checkpoints import stem
from lth_core.imp.settings import IMPSettings
from lth_core.masks import MaskSet
from lth_core.openmmlab.keys import training_settings
from lth_core.openmmlab.settings import KEEP, REINIT, RecordSettings, TicketSettings
from lth_core.results import DENSE
from lth_core.ticket import WEIGHTS_NAME, Ticket
from lth_core.variant_kinds import Variant, kinds

RANDOM = "random"
"""Start weights that have not been trained."""

MASK_NAME = "mask_name"
"""Key of a ticket's metadata: where its mask comes from, for trainings from it."""

_TOLD = (
    "model", "data_preprocessor", "train_dataloader", "val_dataloader", "train_cfg", "val_cfg",
    "val_evaluator", "optim_wrapper", "param_scheduler", "auto_scale_lr", "randomness",
    "custom_hooks", "sync_bn",
)  # fmt: skip
"""Top-level keys of what trainings that are compared should have in common."""

_WATCHING = ("JobProgressHook",)
"""Hooks that look on."""

_OF_LOADING = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")
"""Settings of data loaders that decide how fast they are."""

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
                weights = _weights_of(ticket) or weights
        elif settings.weights == REINIT:
            weights = RANDOM
        elif settings.weights != KEEP:
            weights = stem(settings.weights)
        sparsity = masks.sparsity
        if sparsity > 0:
            mask = mask_name(settings.path, ticket)
            level = max(1, level_of(ticket))
            variant = variant_name(settings.variant)
            if settings.weights == REINIT:  # not to be taken for the ticket itself
                variant = f"{variant} {REINIT}".strip()
            variant = " of ".join(filter(None, [variant, _variant_of(ticket)]))
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
    unusual = [
        f"rewind {settings.rewind}" * (settings.rewind in ("dense", "lr", "none", "reinit")),
        settings.criterion * (settings.criterion != "magnitude"),
        settings.allocation * (settings.allocation != "global"),
        f"amount {settings.amount:g}" * (settings.amount != _USUAL_AMOUNT),
        "pruned first" * (settings.first_prune == "before"),
    ]
    found = ", ".join(["imp on " + task, *filter(None, unusual)])
    config = comparison_digest(cfg)
    return Names(task, record.weights or start, record.mask or found, config=config)


def weights_of_tickets(names: Names, settings: IMPSettings) -> str:
    """What a chain's tickets start from, for trainings from them.

    Args:
        names: Of the chain.
        settings: Its own.
    """
    trained = settings.rewind in ("dense", "lr", "none")
    return f"{names.weights}, trained on {names.task}" if trained else names.weights


def task_of(cfg: Mapping[str, Any]) -> str:
    """Data set and model: ``VOC FCOS``, ``Digits ResNet-18``, ``MoCo on ImageNet``.

    And what keys of packages make of the training: ``Digits ResNet-18, adversarial pgd-10``.
    """
    asked = training_settings(cfg)
    return ", ".join([_plain_task(cfg), *(" ".join([k, *_words(v)]) for k, v in asked.items())])


def _words(settings: Any, name: str = "") -> Iterator[str]:
    """Settings in short; switches are left out."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _words(value, key)
    elif isinstance(settings, str):
        yield settings
    elif isinstance(settings, (int, float)) and not isinstance(settings, bool):
        yield f"{name}={settings:.4g}"


def _plain_task(cfg: Mapping[str, Any]) -> str:
    loader = cfg.get("train_dataloader") or cfg.get("val_dataloader") or {}
    data = loader.get("dataset") if isinstance(loader, Mapping) else None
    data_sets = "+".join(dict.fromkeys(_data_sets(data)))
    model = cfg.get("model")
    if not isinstance(model, Mapping):
        return f"{data_sets} {type(model).__name__}".strip()
    views = model.get("data_preprocessor") or cfg.get("data_preprocessor")
    if data_sets and isinstance(views, Mapping) and _kind(views).startswith("SelfSup"):
        return f"{_kind(model)} on {data_sets}"
    return f"{data_sets} {_model(model)}".strip()


def _model(model: Mapping[str, Any]) -> str:
    """A model's name; where its own says nothing, that of the part which tells it from others."""
    made_of = model.get("classifier")  # a class that is made of another says so
    kind = _kind({"type": made_of} if isinstance(made_of, (str, type)) else model)
    backbone, head = model.get("backbone"), model.get("decode_head")
    if kind.endswith("EncoderDecoder") and isinstance(head, (list, tuple)) and head:
        head = head[-1]
    if kind.endswith("EncoderDecoder") and isinstance(head, Mapping) and "type" in head:
        return _kind(head).removesuffix("Head")
    if kind == "ImageClassifier" and isinstance(backbone, Mapping) and "type" in backbone:
        size = backbone.get("depth") or backbone.get("arch")
        return f"{_kind(backbone)}-{size}" if isinstance(size, (int, str)) else _kind(backbone)
    return kind


def _kind(node: Mapping[str, Any]) -> str:
    """A ``type``, named or given, without the package or scope that it is from."""
    kind = node.get("type", "")
    return (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]


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
            yield _kind(node).removesuffix("Dataset") or _kind(node)


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
    if _loads(node) and node.get("checkpoint"):
        return node["checkpoint"]
    keys = sorted(node, key=lambda key: (key != "backbone", key != "init_cfg"))
    return next((found for key in keys if (found := _loaded(node[key])) is not None), None)


def variant_name(variant: Variant | None) -> str:
    """``random``, ``perturb fraction=0.05``: the kind, and what is not as usual about it.

    Not its seed: another seed is another run.
    """
    return "" if variant is None else _variant_name(variant.settings())


def _variant_of(ticket: Ticket) -> str:
    """The same of a ticket whose mask was made into something before it was written."""
    stored = ticket.meta.get("variant")
    return _variant_name(stored) if isinstance(stored, Mapping) and "type" in stored else ""


def _variant_name(settings: Mapping[str, Any]) -> str:
    kind = kinds().get(settings["type"])
    usual = {} if kind is None else {each.name: each.default for each in fields(kind)}
    unusual = [
        f"{name}={stem(value) if name == 'among' else value}"
        for name, value in settings.items()
        if name not in ("type", "seed") and value != usual.get(name)
    ]
    return " ".join([str(settings["type"]), *unusual])


def comparison_digest(cfg: Mapping[str, Any]) -> str:
    """Of what trainings that are compared should have in common: all but start, mask and seed."""
    to_dict = getattr(cfg, "to_dict", None)
    plain = dict(to_dict() if to_dict is not None else cfg)
    kept = {key: plain[key] for key in _TOLD if plain.get(key) is not None}
    kept |= training_settings(plain)
    kept["model"] = _without_start(kept.get("model"))
    for key, value in kept.items():
        if key.endswith("_dataloader") and isinstance(value, Mapping):
            kept[key] = {k: v for k, v in value.items() if k not in _OF_LOADING}
    randomness = kept.pop("randomness", {})
    kept["randomness"] = {k: v for k, v in randomness.items() if k != "seed"}
    hooks = kept.pop("custom_hooks", [])
    kept["custom_hooks"] = [
        hook for hook in hooks if not (isinstance(hook, Mapping) and _kind(hook) in _WATCHING)
    ]
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_start(node: Any) -> Any:
    """A model's config without the checkpoints that its parts load."""
    if isinstance(node, (list, tuple)):
        return [_without_start(item) for item in node if not _loads(item)]
    if not isinstance(node, Mapping):
        return node
    kept = {}
    for key, value in node.items():
        value = _without_start(value)
        nothing = value is None or value == [] or _loads(value)
        if not (key == "pretrained" or (key == "init_cfg" and nothing)):
            kept[key] = value
    return kept


def _loads(node: Any) -> bool:
    return isinstance(node, Mapping) and "Pretrained" in str(node.get("type"))


def mask_name(path: str, ticket: Ticket) -> str:
    """Where the mask of the ticket in a file comes from."""
    meta = ticket.meta
    if meta.get("one_shot"):
        allocation = meta.get("allocation") if meta.get("allocation") != "global" else None
        parts = ("one-shot", meta.get("criterion"), meta.get("structure"), allocation)
        return " ".join(str(part) for part in parts if part)
    if meta.get(MASK_NAME):
        return str(meta[MASK_NAME])
    if meta.get("run"):
        return f"imp {meta['run']}"
    if meta.get("source"):
        return "imported"
    return stem(path)


def _weights_of(ticket: Ticket) -> str | None:
    """What a ticket's own weights are called; None if it does not say."""
    meta = ticket.meta
    if meta.get(WEIGHTS_NAME) and "variant" not in meta:  # a variant's are not its ticket's
        return str(meta[WEIGHTS_NAME])
    known = meta.get("weights") or (meta.get("source") if meta.get("one_shot") else None)
    return None if known is None else stem(known)


def level_of(ticket: Ticket) -> int:
    """A ticket's number, else that of the usual level of about its sparsity."""
    level = ticket.meta.get("level")
    if type(level) is int and level >= 0:
        return level
    density = 1 - ticket.masks.sparsity
    return round(math.log(density) / math.log(1 - _USUAL_AMOUNT)) if density > 0 else 1
