"""Looks, before anything is built, whether a config's keys are right and its files are there."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from lth_core.errors import ConfigError
from lth_core.openmmlab.keys import apply_package_keys, reject_misspelt_keys
from lth_core.openmmlab.settings import (
    KEEP,
    REINIT,
    TicketSettings,
    parse_imp,
    parse_record,
    parse_ticket,
)

SOURCES = {
    "VOC": (
        "VOC comes from host.robots.ox.ac.uk/pascal/VOC; unpack its archives so that "
        "VOCdevkit/VOC2007 and VOCdevkit/VOC2012 lie in the data root"
    ),
    "Coco": "COCO comes from cocodataset.org; unpack annotations/ and train2017/, val2017/",
    "Cityscapes": "Cityscapes comes from cityscapes-dataset.com (leftImg8bit and gtFine)",
    "ImageNet": "ImageNet comes from image-net.org; unpack train/ and val/",
}
"""Where to get a data set, by a part of its class's name."""

_MAKE_TICKET = (
    "find one with an imp config, make a one-shot one with `lth ticket make WEIGHTS --level 10 "
    "-o FILE`, or name another with --cfg-options ticket.path=FILE"
)


def check_files(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Checks that the ticket, the weights and the data sets that ``cfg`` names exist.

    Its keys are looked at first: what is misspelt may name the wrong files.

    Args:
        cfg: A complete config.
        loaders: Which data loaders will be used, for example ``("train_dataloader",)``.

    Raises:
        ConfigError: If a key of lth's is misspelt or malformed; with one line for each thing that
            is missing: what, where it was looked for, and how to get it.
    """
    check_keys(cfg)
    ticket = cfg.get("ticket")
    problems = [] if ticket is None else [*missing_files(parse_ticket(ticket))]
    problems += _missing_weights(cfg)
    for loader in loaders:
        problems += _missing_data((cfg.get(loader) or {}).get("dataset"))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def check_keys(cfg: Config) -> None:
    """Checks lth's own keys and those of packages, without doing what they ask for.

    Raises:
        ConfigError: If one is misspelt or malformed.
    """
    reject_misspelt_keys(cfg)
    parse_record(cfg.get("record"))
    for key, parse in (("ticket", parse_ticket), ("imp", parse_imp)):
        if cfg.get(key) is not None:
            parse(cfg[key])
    apply_package_keys(copy.deepcopy(cfg))


def missing_files(ticket: TicketSettings) -> Iterator[str]:
    """One line for each file that ``ticket`` names and that does not exist."""
    if not os.path.isfile(ticket.path):
        where = os.path.abspath(ticket.path)
        yield f"ticket {ticket.path} does not exist (looked for {where}); {_MAKE_TICKET}"
    if ticket.weights not in (None, KEEP, REINIT) and not os.path.isfile(str(ticket.weights)):
        where = os.path.abspath(str(ticket.weights))
        yield f"ticket.weights {ticket.weights} does not exist (looked for {where})"
    among = str(getattr(ticket.variant, "among", None) or "")
    if among and _is_missing(among):
        yield f"ticket.variant.among {among} does not exist (looked for {os.path.abspath(among)})"


def _missing_weights(cfg: Config) -> Iterator[str]:
    load_from = cfg.get("load_from")
    if _is_missing(load_from):
        yield f"load_from {load_from} does not exist (looked for {os.path.abspath(load_from)})"
    model = dict(cfg.get("model") or {})
    if cfg.get("ticket") is not None:
        ticket = parse_ticket(cfg.ticket)
        if ticket.weights != KEEP and not ticket.partial:
            model.pop("backbone", None)  # the ticket's take their place
    for path in _pretrained(model):
        if _is_missing(path):
            yield (
                f"weights {path} do not exist (looked for {os.path.abspath(path)}); set "
                "LTH_WEIGHTS to their folder, or name another file in the config"
            )


def _is_missing(path: Any) -> bool:
    return isinstance(path, str) and "://" not in path and not os.path.isfile(path)


def _pretrained(node: Any) -> Iterator[Any]:
    """What the ``init_cfg`` of a model and its parts load."""
    if isinstance(node, Mapping):
        if "Pretrained" in str(node.get("type")) and "checkpoint" in node:
            yield node["checkpoint"]
        for value in node.values():
            yield from _pretrained(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _pretrained(item)


def _missing_data(node: Any) -> Iterator[str]:
    for dataset in _datasets(node):
        kind = str(dataset["type"])
        source = next((f"{text}; " for key, text in SOURCES.items() if key in kind), "")
        for path in _named_paths(dataset):
            if "://" not in path and not os.path.exists(path):
                yield (
                    f"{kind} needs {path}, which does not exist (looked for "
                    f"{os.path.abspath(path)}); {source}set LTH_DATA_ROOT, or the data_root of "
                    "the config, to where it is"
                )
                break


def _datasets(node: Any) -> Iterator[Mapping[str, Any]]:
    """The data set dicts in a loader's config, inside wrappers such as ConcatDataset too."""
    if isinstance(node, Mapping):
        if "type" in node and ("ann_file" in node or "data_root" in node or "data_prefix" in node):
            yield node
        for key in ("dataset", "datasets"):
            yield from _datasets(node.get(key))
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _datasets(item)


def _named_paths(dataset: Mapping[str, Any]) -> Iterator[str]:
    root = dataset.get("data_root") or ""
    if root:
        yield root
    names = [dataset.get("ann_file")]
    prefix = dataset.get("data_prefix")
    names += list(prefix.values()) if isinstance(prefix, Mapping) else [prefix]
    for name in names:
        if isinstance(name, str) and name:
            yield os.path.join(root, name)
