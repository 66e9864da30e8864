"""Looks, before anything is built, whether the files that a config names are there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from lth_core.errors import ConfigError

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


def check_data(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Checks that annotation files and image folders of ``cfg``'s data sets exist.

    Args:
        cfg: A complete config.
        loaders: Which data loaders will be used, for example ``("train_dataloader",)``.

    Raises:
        ConfigError: Naming the data set, the missing path, where it was looked for, and where to
            get the data.
    """
    for loader in loaders:
        for dataset in _datasets((cfg.get(loader) or {}).get("dataset")):
            for path in _named_paths(dataset):
                if "://" not in path and not os.path.exists(path):
                    kind = str(dataset["type"])
                    source = next((text for key, text in SOURCES.items() if key in kind), "")
                    raise ConfigError(
                        f"{loader}: {kind} needs {path}, which does not exist (looked for "
                        f"{os.path.abspath(path)}); {source + '; ' if source else ''}"
                        "set LTH_DATA_ROOT, or the data_root of the config, to where it is"
                    )


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
