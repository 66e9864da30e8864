"""Two training steps of an upstream config from a ticket, at small size, and what holds then."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torchvision
from lth_core.cli import main as lth_command
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import build_runner, load_config
from lth_core.openmmlab.reinit import build_fresh
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

SIZES = ("scale", "scales", "img_scale", "img_scales", "crop_size", "size")
TRANSFORMERS = ("swin", "convnext", "segformer")
"""Backbones that consist of linear layers for the most part."""

SPARSITY = 0.8
STEPS = 2


def torchvision_ticket(folder: Path) -> Path:
    """A ticket of torchvision's ResNet-50, made by the command line from a file of weights."""
    weights, ticket = folder / "resnet50.pth", folder / "resnet50.safetensors"
    torch.save(torchvision.models.resnet50().state_dict(), weights)
    made = ["ticket", "make", str(weights), "--level", "1", "--amount", str(SPARSITY)]
    assert lth_command([*made, "-o", str(ticket)]) == 0
    return ticket


def own_ticket(config: str, folder: Path) -> Path:
    """A ticket of the backbone that an upstream config has, with random weights."""
    cfg = load_config(config)
    kinds = ("conv", "linear") if any(kind in config for kind in TRANSFORMERS) else ("conv",)
    init_default_scope(cfg.default_scope)
    backbone = build_fresh(cfg.model.backbone, MODELS.build)
    masks = lth.prune(
        backbone, lth.MaskSet.ones(backbone, lth.prunable(backbone, kinds=kinds)), amount=SPARSITY
    )
    path = folder / "own.safetensors"
    lth.Ticket(masks, backbone.state_dict()).save(path)
    return path


def write_config(upstream: str, ticket: Path, folder: Path, ticket_fields: str = "") -> Path:
    """A user's config: an upstream one, a ticket base, and nothing else."""
    base = folder / "ticket.py"
    base.write_text(
        "__import__('lth_core.openmmlab')\n"
        "runner_type = 'LTHRunner'\n"
        f"ticket = dict(path={str(ticket)!r}{ticket_fields})\n"
    )
    config = folder / "config.py"
    config.write_text(f"_base_ = [{upstream!r}, {str(base)!r}]\n")
    return config


def shrink(cfg: Config, work_dir: Path) -> Config:
    """The same training, of small pictures and two steps; the model is left as it is."""
    cfg.work_dir, cfg.log_level = str(work_dir), "ERROR"
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    (loader.get("batch_sampler") or loader).drop_last = True  # norms want more than one picture
    if loader.dataset.type == "RepeatDataset":
        loader.dataset.times = 1
    _shrink_sizes(cfg._cfg_dict)
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    if cfg.train_cfg.get("type") == "IterBasedTrainLoop" or "max_iters" in cfg.train_cfg:
        cfg.train_cfg.update(max_iters=STEPS, val_interval=STEPS)
        cfg.default_hooks.checkpoint.update(interval=STEPS, by_epoch=False)
    else:
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
        cfg.default_hooks.checkpoint.update(interval=1, by_epoch=True)
    cfg.default_hooks.checkpoint.pop("save_best", None)
    cfg.param_scheduler = None  # warm-ups begin with steps too small to see,
    optimizer = cfg.optim_wrapper.optimizer
    optimizer.lr = min(optimizer.lr, 1e-3)  # and without them the first steps would be too large
    return cfg


def _shrink_sizes(node: Any) -> None:
    """Divides the sizes of pictures by eight, keeping them multiples of 32."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in SIZES and not isinstance(value, dict):
                node[key] = _smaller(value)
            else:
                _shrink_sizes(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            _shrink_sizes(item)


def _smaller(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_smaller(item) for item in value)
    return 32 * math.ceil(value / 256) if isinstance(value, int) and value >= 128 else value


def train_two_steps(
    upstream: str, ticket: Path, folder: Path, ticket_fields: str = "", **options: Any
) -> LTHRunner:
    """Trains, and checks that it did, with a loss that is a number.

    Args:
        upstream: As ``mmdet::fcos/name.py``.
        ticket: The ticket's file.
        folder: Where the run may write.
        ticket_fields: Further fields of the config's ``ticket``, as ``, partial=True``.
        **options: Config settings, double underscores between keys.
    """
    cfg = shrink(load_config(str(write_config(upstream, ticket, folder, ticket_fields))), folder)
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
    torch.manual_seed(0)
    runner: LTHRunner = build_runner(cfg)
    runner.train()
    assert runner.iter == STEPS
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    return runner


def check_exact(runner: LTHRunner, ticket: Path) -> None:
    """The ticket's zeros, and no others, everywhere that training leaves weights.

    What is frozen is the ticket's, bit for bit; what is not has moved.
    """
    ticket_file = lth.Ticket.load(ticket)
    masks, weights = ticket_file.masks, ticket_file.weights
    assert weights is not None
    assert masks.total - masks.kept == round(SPARSITY * masks.total)
    model = getattr(runner.model, "module", runner.model)
    parameters = dict(model.named_parameters())
    prefix = next(n.removesuffix(next(iter(masks))) for n in parameters if _is(n, masks))
    moved = 0
    for name, mask in masks.items():
        parameter = parameters[prefix + name]
        assert not bool(parameter[~mask].any()), name
        if not parameter.requires_grad:
            assert torch.equal(parameter, weights[name]), name
        moved += int(not torch.equal(parameter, weights[name]))
    trainable = sum(parameters[prefix + name].requires_grad for name in masks)
    assert bool(moved) == bool(trainable)  # some have no gradient so early
    for state, mask in _optimizer_states(runner, parameters, masks, prefix):
        assert not bool(state[~mask].any())
    _check_checkpoint(runner, masks, prefix)


def _is(name: str, masks: lth.MaskSet) -> bool:
    first = next(iter(masks))
    return name == "backbone." + first or name.endswith(".backbone." + first)


def _optimizer_states(
    runner: LTHRunner, parameters: dict[str, nn.Parameter], masks: lth.MaskSet, prefix: str
) -> Iterator[tuple[Tensor, Tensor]]:
    states = runner.optim_wrapper.optimizer.state
    for name, mask in masks.items():
        for value in states.get(parameters[prefix + name], {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                yield value, mask


def _check_checkpoint(runner: LTHRunner, masks: lth.MaskSet, prefix: str) -> None:
    saved = torch.load((Path(runner.work_dir) / "last_checkpoint").read_text(), weights_only=True)
    copies = [saved["state_dict"]]
    if "ema_state_dict" in saved:
        averaged = saved["ema_state_dict"]
        copies.append({key.removeprefix("module."): value for key, value in averaged.items()})
    for state in copies:
        for name, mask in masks.items():
            assert not bool(state[prefix + name][~mask].any()), name


def check_statistics(runner: LTHRunner, ticket: Path) -> None:
    """With ``norm_eval`` the backbone's running means are still the ticket's."""
    weights = lth.Ticket.load(ticket).weights
    assert weights is not None
    state = runner.model.backbone.state_dict()
    means = [name for name in weights if name.endswith("running_mean")]
    assert means
    for name in means:
        assert torch.equal(state[name], weights[name]), name
