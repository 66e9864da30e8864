"""Makes every training small under which this folder is on PYTHONPATH; commands stay as written.

Epochs, tickets, commands and files are those of the page. Smaller are networks that are full
ResNets (a sixteenth of the channels), their chains (two rounds), the levels of all chains (three
epochs), pictures, batches, data sets that the project makes itself, and trainings that count in
iterations or go on for more than two dozen epochs (three of them under attack).
"""

from __future__ import annotations

from typing import Any

import _lth_core_startup as startup

CONFIG = "mmengine.config.config"
NARROW = 16
FULL = 48  # a full network's layers have at least so many channels
ITERATIONS = 4
ROUNDS = 2
EPOCHS = 24
EPOCHS_OF_ROUNDS = 3
PICTURES = 4
BATCH = 4
SIDE = 96


def shrink(cfg: Any) -> None:
    """Changes a config that trains a model; others stay."""
    content = cfg._cfg_dict
    if "model" not in content or "train_cfg" not in content:
        return
    if "narrow" not in content:
        content["narrow"] = _narrow(content["model"])
    if content["narrow"] and content.get("imp"):
        content["imp"]["rounds"] = ROUNDS
    _detect_anything(content["model"])
    _shorten(content)
    for part in ("train", "val", "test"):
        loader = content.get(f"{part}_dataloader")
        if loader:
            loader.update(num_workers=0, persistent_workers=False)
            loader["batch_size"] = min(loader.get("batch_size", BATCH), BATCH)
            _few(loader["dataset"])
            _resize(loader["dataset"])
    for name in ("train_pipeline", "test_pipeline"):
        _resize(content.get(name) or [])
    preprocessor = content["model"].get("data_preprocessor") or {}
    if preprocessor.get("size"):
        preprocessor["size"] = _smaller(preprocessor["size"])


def _narrow(model: dict) -> bool:
    """Narrows a model that is full; whether it was."""
    backbones = [part for part in _parts(model) if str(part.get("type")).startswith("ResNet")]
    full = [part for part in backbones if part.get("base_channels", 64) >= FULL]
    if not full:
        return False
    for part in _parts(model):
        for key, value in list(part.items()):
            if key.endswith(("channels", "_features", "feat_dim")):
                part[key] = _divided(value)
            elif key == "num_groups":
                part[key] = min(value, 4)
    for part in full:
        part["base_channels"] = part["stem_channels"] = 64 // NARROW
    return True


def _detect_anything(model: dict) -> None:
    """Detectors that have hardly been trained are sure of nothing, and nothing has no precision."""
    for part in _parts(model):
        if "score_thr" in part:
            part["score_thr"] = 0.0


def _divided(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_divided(each) for each in value]
    return value // NARROW if isinstance(value, int) and value >= FULL else value


def _parts(value: Any) -> list[dict]:
    if isinstance(value, dict):
        return [value, *(part for each in value.values() for part in _parts(each))]
    if isinstance(value, (list, tuple)):
        return [part for each in value for part in _parts(each)]
    return []


def _shorten(content: dict) -> None:
    loop = content["train_cfg"] or {}
    if loop.get("max_iters"):
        length = loop["max_iters"] = min(loop["max_iters"], ITERATIONS)
    else:
        costly = content.get("adversarial") and loop["max_epochs"] > EPOCHS
        shorter = EPOCHS_OF_ROUNDS if content.get("imp") or costly else EPOCHS
        length = loop["max_epochs"] = min(loop["max_epochs"], shorter)
    loop["val_interval"] = length
    if "val_begin" in loop:
        loop["val_begin"] = min(loop["val_begin"], length)
    hook = (content.get("default_hooks") or {}).get("checkpoint")
    if hook and hook.get("interval", 1) > 0:
        hook["interval"] = length


def _few(dataset: dict) -> None:
    for part in _parts(dataset):
        if "times" in part:
            part["times"] = 1
        if part.get("part") in ("train", "val", "test"):  # published sets, known by checksums
            part.update({"verify": False, **({"val_last": 4} if "val_last" in part else {})})
        if str(part.get("type")).startswith("Digit"):
            part["indices"] = PICTURES
            if str(part["type"]).startswith("DigitScenes"):
                part["settings"] = {"train_images": PICTURES, "test_images": PICTURES}


def _resize(pipeline: Any) -> None:
    for step in _parts(pipeline):
        for key in ("scale", "crop_size", "size"):
            if key in step:
                step[key] = _smaller(step[key])


def _smaller(size: Any) -> Any:
    """A side is an eighth of what it was, to a multiple of 32."""
    if isinstance(size, (list, tuple)):
        return tuple(_smaller(side) for side in size)
    if not isinstance(size, int) or size <= SIDE:
        return size
    return max(32, round(size / 8 / 32) * 32)


def _amend(module: Any) -> None:
    config = module.Config
    read, merge = config.fromfile, config.merge_from_dict

    def fromfile(*args: Any, **kwargs: Any) -> Any:
        cfg = read(*args, **kwargs)
        shrink(cfg)
        return cfg

    def merge_from_dict(self: Any, *args: Any, **kwargs: Any) -> None:
        merge(self, *args, **kwargs)
        shrink(self)

    config.fromfile = staticmethod(fromfile)
    config.merge_from_dict = merge_from_dict


_before = startup._AMENDMENTS[CONFIG]


def _both(module: Any) -> None:
    _before(module)
    _amend(module)


startup._AMENDMENTS[CONFIG] = _both
