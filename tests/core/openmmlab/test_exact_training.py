"""Whole trainings from a ticket: what the optimizer sees, and what is left behind.

Beside each training runs a plain model of the same config that knows no masks. Its gradients,
masked here, say what the optimizer must see and what norm must clip it.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
import torch.distributed as dist
from lth_core.attaching import zero_pruned
from lth_core.openmmlab import BFloat16OptimWrapper, LTHRunner
from lth_core.openmmlab.compat import processes
from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import DATASETS, MODELS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional as F

from .toy import ToyClassifier, toy_config

MAX_NORM = 0.1
CLIP_VALUE = 1e-3
OVERFLOW = {"init_scale": 2.0**30, "backoff_factor": 2.0**-20}


@pytest.fixture(autouse=True, scope="module")
def mmpretrain() -> None:
    """Registers MoCo and LARS; not at the top, since the two processes below do without."""
    import mmpretrain.engine
    import mmpretrain.models  # noqa: F401


@OPTIM_WRAPPERS.register_module(force=True)
class AmpOnCPU(AmpOptimWrapper):
    """mmengine's, which wants a GPU when it is made; all that it does to gradients is its own."""

    def __init__(self, dtype: str, loss_scale: dict[str, float] | None = None, **kwargs: Any):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", **(loss_scale or {}))
        self.cast_dtype = getattr(torch, dtype)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", self.cast_dtype)


@DATASETS.register_module(force=True)
class TwoViews(torch.utils.data.Dataset):
    """Pairs of noise images that are nearly alike."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(32, 3, 16, 16, generator=generator)
        self.noise = torch.rand(32, 3, 16, 16, generator=generator) / 10

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        views = [self.images[index], self.images[index] + self.noise[index]]
        return {"inputs": views, "data_samples": index}


@MODELS.register_module(force=True)
class SyncedToyClassifier(ToyClassifier):
    """Asks for batch norms over all processes, as many configs do."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone.bn1 = nn.SyncBatchNorm(8)


class Watch(Hook):
    """Compares every step with the gradients of a model that knows no masks."""

    priority = "HIGHEST"  # its look at the gradients comes before lth's own

    def __init__(self, masks: lth.MaskSet, tolerance: float) -> None:
        self.masks = masks.with_prefix("backbone.")
        self.tolerance = tolerance
        self.gradients: list[dict[str, Tensor]] = []
        self.expected: list[dict[str, Tensor]] = []
        self.norms: list[float] = []
        self.excess: list[float] = []
        self.weights: list[list[Tensor]] = []
        self.twins: list[dict[str, Tensor]] = []
        self._sums: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        self.model = getattr(runner.model, "module", runner.model)
        self.free = revert_sync_batchnorm(MODELS.build(runner.cfg.model))
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._see)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        wrapper = runner.optim_wrapper
        self._note_twin()
        if batch_idx % wrapper._accumulative_counts == 0:
            self._sums = {}
        self.free.load_state_dict(self.model.state_dict())
        self.free.train()
        self.free.zero_grad()
        cast = isinstance(wrapper, (AmpOnCPU, BFloat16OptimWrapper))
        scale = wrapper.loss_scaler.get_scale() if isinstance(wrapper, AmpOnCPU) else 1.0
        with wrapper.optim_context(self.free) if cast else nullcontext():
            data = self.free.data_preprocessor(copy.deepcopy(data_batch), True)
            loss, _ = self.free.parse_losses(self.free(**data, mode="loss"))
        (loss / wrapper._accumulative_counts * scale).backward()
        for name, parameter in self.free.named_parameters():
            if parameter.grad is not None:
                gradient = parameter.grad / scale
                if dist.is_initialized():
                    dist.all_reduce(gradient)
                    gradient /= dist.get_world_size()
                self._sums[name] = self._sums.get(name, torch.tensor(0.0)) + gradient

    def after_train_iter(self, runner: Runner, batch_idx: int, *_: Any, **__: Any) -> None:
        for hook in runner.hooks:
            average = getattr(hook, "ema_model", None)
            if average is not None:
                self.twins.append(_copied(average.module))
        self._note_twin()
        self.weights.append([p.detach().clone() for p in self.model.parameters()])
        wrapper = runner.optim_wrapper
        if not wrapper.clip_grad_kwargs or (batch_idx + 1) % wrapper._accumulative_counts:
            return
        live = self._live()
        if "max_norm" in wrapper.clip_grad_kwargs:
            norm = float(torch.cat([g.flatten() for g in live.values()]).norm())
            free = float(torch.cat([g.flatten() for g in self._sums.values()]).norm())
            self.norms.append(runner.message_hub.get_scalar("train/grad_norm").current())
            if norm < float("inf"):
                assert self.norms[-1] == pytest.approx(norm, rel=self.tolerance)
                self.excess.append(free / norm)

    def _note_twin(self) -> None:
        """Notes MoCo's momentum encoder, whose first part is a copy of the backbone."""
        if hasattr(self.model, "encoder_k"):
            twin = _copied(self.model.encoder_k.module)
            self.twins.append({f"backbone.{name[2:]}": t for name, t in twin.items()})

    def _live(self) -> dict[str, Tensor]:
        return {n: g * self.masks[n] if n in self.masks else g for n, g in self._sums.items()}

    def _see(self, *_: Any) -> None:
        seen = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        self.gradients.append({n: g.detach().clone() for n, g in seen.items()})
        self.expected.append(self._live())

    def require_exact(self, runner: Runner) -> None:
        """Zeros wherever a user can look, and the gradients of the live weights elsewhere."""
        optimizer = runner.optim_wrapper.optimizer
        clip = runner.optim_wrapper.clip_grad_kwargs
        assert self.gradients
        states = 0
        for name, mask in self.masks.items():
            parameter = self.model.get_parameter(name)
            assert not parameter.detach()[~mask].any()
            for tensors in (*self.gradients, *self.twins):
                assert not tensors[name][~mask].any()
                assert tensors[name][mask].any(), name
            for state in optimizer.state[parameter].values():
                if isinstance(state, Tensor) and state.shape == mask.shape:
                    assert not state[~mask].any()
                    assert state[mask].any()
                    states += 1
        assert states >= len(self.masks)
        for seen, live in zip(self.gradients, self.expected, strict=True):
            assert seen.keys() == live.keys()
            norm = torch.cat([g.flatten() for g in live.values()]).norm()
            for name, gradient in live.items():
                if "max_norm" in clip:
                    gradient = gradient * min(1.0, clip["max_norm"] / (float(norm) + 1e-6))
                else:
                    gradient = gradient.clamp(-clip["clip_value"], clip["clip_value"])
                size = float(gradient.abs().max())
                torch.testing.assert_close(
                    seen[name], gradient, rtol=self.tolerance, atol=self.tolerance * size
                )


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
LARS = {"type": "mmpretrain.LARS", "lr": 4.0, "momentum": 0.9, "weight_decay": 1e-3}
NORM = {"clip_grad": {"max_norm": MAX_NORM}}
MODES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "nesterov": {"optim_wrapper": {"optimizer": SGD | {"nesterov": True}, **NORM}},
    "adam": {"optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.01}, **NORM}},
    "adamw": {"optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.01}, **NORM}},
    "lars": {"optim_wrapper": {"optimizer": LARS, **NORM}},
    "clip by value": {
        "optim_wrapper": {
            "optimizer": SGD,
            "clip_grad": {"type": "value", "clip_value": CLIP_VALUE},
        }
    },
    "accumulation": {"optim_wrapper": {"optimizer": SGD, "accumulative_counts": 2, **NORM}},
    "bfloat16": {"optim_wrapper": {"type": "AmpOnCPU", "dtype": "bfloat16", "optimizer": SGD}},
    "bfloat16, lth's wrapper": {
        "optim_wrapper": {"type": "BFloat16OptimWrapper", "optimizer": SGD, **NORM}
    },
    "float16, overflow": {
        "optim_wrapper": {
            "type": "AmpOnCPU",
            "dtype": "float16",
            "loss_scale": OVERFLOW,
            "optimizer": SGD,
        }
    },
    "ema": {"custom_hooks": [{"type": "EMAHook", "momentum": 0.1}]},
    "channels last": {"custom_hooks": [{"type": "ChannelsLastHook"}]},
    "compiled": {"compile": {"backend": "aot_eager"}},
}


def train(
    ticket: Path, work_dir: Path, tolerance: float = 1e-4, **changes: Any
) -> tuple[Runner, Watch]:
    """Trains from ``ticket`` under watch."""
    changes = copy.deepcopy(changes)
    wrapper = changes.setdefault("optim_wrapper", {"optimizer": SGD})
    wrapper.setdefault("clip_grad", {"max_norm": MAX_NORM})
    cfg = toy_config(work_dir, ticket={"path": str(ticket)}, **changes)
    watch = Watch(lth.Ticket.load(ticket).masks, tolerance)
    runner = LTHRunner.from_cfg(cfg, hooks=(watch,))
    runner.train()
    watch.require_exact(runner)
    return runner, watch


@pytest.mark.parametrize("mode", MODES)
def test_what_the_optimizer_sees(mode: str, ticket: Path, tmp_path: Path) -> None:
    cast = "float16" in mode
    torch.compiler.reset()
    _, watch = train(ticket, tmp_path / "run", 1e-2 if cast else 1e-4, **MODES[mode])
    steps = 8 // (2 if mode == "accumulation" else 1)
    first = watch.weights[0]
    if mode == "float16, overflow":
        assert len(watch.gradients) == steps - 1
        assert watch.norms[0] == float("inf") or watch.norms[0] != watch.norms[0]
        start = lth.Ticket.load(ticket).weights
        assert start is not None
        names = [name for name, _ in watch.model.named_parameters()]
        conv = first[names.index("backbone.conv3.weight")]
        assert torch.equal(conv, start["conv3.weight"]), "the step was not skipped"
    else:
        assert len(watch.gradients) == steps
    if mode == "clip by value":
        assert max(float(g.abs().max()) for s in watch.gradients for g in s.values()) == (
            pytest.approx(CLIP_VALUE)
        )
    else:
        assert len(watch.norms) == steps
        assert max(watch.excess) > 1.1, "pruned weights have hardly a gradient to leave out"
    if mode == "ema":
        assert len(watch.twins) == 8
    assert not all(torch.equal(a, b) for a, b in zip(first, watch.weights[-1], strict=True))


@pytest.mark.parametrize("clip", ["norm", "value", ""])
@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_as_weight_times_mask(clip: str, nesterov: bool) -> None:
    """LARS divides by the norms of whole layers: of their live weights only."""
    from mmpretrain.engine import optimizers

    from ..test_attach_modes import Mode, compare_with_reference

    def lars(parameters: Any) -> torch.optim.Optimizer:
        return optimizers.LARS(parameters, 5.0, momentum=0.9, weight_decay=1e-3, nesterov=nesterov)

    compare_with_reference(Mode(lars, clip=clip))


MOCO = {
    "type": "mmpretrain.MoCo",
    "queue_len": 32,
    "feat_dim": 8,
    "momentum": 0.1,
    "backbone": {
        "type": "mmpretrain.ResNet_CIFAR",
        "depth": 18,
        "num_stages": 2,
        "strides": (1, 2),
        "dilations": (1, 1),
        "out_indices": (1,),
        "stem_channels": 8,
        "base_channels": 8,
        "norm_cfg": {"type": "BN"},
        "zero_init_residual": False,  # which would keep the first gradients at zero
    },
    "neck": {
        "type": "mmpretrain.MoCoV2Neck",
        "in_channels": 16,
        "hid_channels": 16,
        "out_channels": 8,
    },
    "head": {
        "type": "mmpretrain.ContrastiveHead",
        "loss": {"type": "mmpretrain.CrossEntropyLoss"},
        "temperature": 0.2,
    },
    "data_preprocessor": {"type": "mmpretrain.SelfSupDataPreprocessor"},
}


class WatchQueue(Hook):
    """Works out by hand the keys that MoCo's momentum encoder must put into the queue."""

    priority = "HIGHEST"

    def __init__(self, masks: lth.MaskSet) -> None:
        self.masks = masks
        self.keys: list[Tensor] = []
        self.queued: list[Tensor] = []

    @torch.no_grad()
    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        model = runner.model
        twin = copy.deepcopy(model.encoder_k.module)
        query = nn.Sequential(model.backbone, model.neck)
        momentum = 1.0 if runner.iter == 0 else 0.1
        for (name, old), new in zip(twin.named_parameters(), query.parameters(), strict=True):
            mask = self.masks.get(name.removeprefix("0."), torch.tensor(True))
            old.copy_((old * mask).lerp(new * mask, momentum))
        self.keys.append(F.normalize(twin(data_batch["inputs"][1])[0], dim=1))

    def after_train_iter(self, runner: Runner, batch_idx: int, *_: Any, **__: Any) -> None:
        end = int(runner.model.queue_ptr) or runner.model.queue_len
        self.queued.append(runner.model.queue[:, end - 8 : end].T.clone())


def test_moco_with_its_momentum_encoder_and_queue(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = MODELS.build(MOCO)
    masks = lth.MaskSet.ones(model.backbone, lth.prunable(model.backbone))
    generator = torch.Generator().manual_seed(0)
    masks = masks.map(lambda mask: torch.rand(mask.shape, generator=generator) < 0.1)
    path = tmp_path / "moco.safetensors"
    lth.Ticket(masks, model.backbone.state_dict(), {"level": 1}).save(path)
    queue = WatchQueue(masks)
    cfg = toy_config(
        tmp_path / "run",
        ticket={"path": str(path), "weights": "keep"},
        model=MOCO,
        train_dataloader={
            "batch_size": 8,
            "num_workers": 0,
            "dataset": {"type": "TwoViews"},
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate"},
        },
        optim_wrapper={"optimizer": SGD, **NORM},
    )
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg.pop(key)
    watch = Watch(masks, 1e-4)
    runner = LTHRunner.from_cfg(cfg, hooks=(watch, queue))
    runner.train()
    watch.require_exact(runner)
    assert len(watch.norms) == len(watch.twins) / 2 == len(queue.keys) == 8
    assert max(watch.excess) > 1.1
    for keys, queued in zip(queue.keys, queue.queued, strict=True):
        torch.testing.assert_close(keys, queued, rtol=1e-5, atol=1e-6)
    assert bool((runner.model.queue.norm(dim=0) - 1).abs().max() < 1e-5)


def _synced(rank: int, size: int, directory: str, ticket: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=size
    )
    torch.set_num_threads(1)
    runner, watch = train(
        Path(ticket),
        Path(directory) / "run",
        model={"type": "SyncedToyClassifier"},
        launcher="pytorch",
        sync_bn="torch",
    )
    assert len(watch.norms) == 4
    assert watch.excess[0] > 1.02
    torch.save(runner.model.module.state_dict(), Path(directory) / f"rank{rank}.pth")
    del runner, watch
    processes.leave()


def test_sync_batch_norm_in_two_processes(ticket: Path, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_synced, (2, str(tmp_path), str(ticket)), nprocs=2)
    one, other = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    for name, mask in lth.Ticket.load(ticket).masks.items():
        weight = one[f"backbone.{name}"]
        assert torch.equal(weight, other[f"backbone.{name}"])
        assert not weight[~mask].any()
        assert weight[mask].any()


PLAIN = """
import sys
import torch
from mmengine.runner import load_checkpoint
from torch import nn

def architecture():
    model = nn.Module()
    model.backbone = nn.Sequential()
    model.backbone.add_module("conv1", nn.Conv2d(3, 8, 3, padding=1, bias=False))
    model.backbone.add_module("bn1", nn.BatchNorm2d(8))
    model.backbone.add_module("relu", nn.ReLU())
    model.backbone.add_module("conv2", nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False))
    model.backbone.add_module("conv3", nn.Conv2d(8, 16, 3, padding=1))
    model.head = nn.Linear(16, 4)
    return model

masks = torch.load(sys.argv[1], weights_only=True)
for path in sys.argv[2:]:
    with_torch, with_mmengine = architecture(), architecture()
    state = torch.load(path, weights_only=True)["state_dict"]
    with_torch.load_state_dict(state, strict=True)
    load_checkpoint(with_mmengine, path, map_location="cpu", strict=True)
    for model in (with_torch, with_mmengine):
        for name, mask in masks.items():
            weight = model.get_parameter("backbone." + name).detach()
            assert not weight[~mask].any(), name
            assert weight[mask].all(), name
            assert torch.equal(weight, state["backbone." + name]), name
assert not [name for name in sys.modules if name.startswith("lth")]
print("loaded", len(sys.argv) - 2)
"""


def test_checkpoints_load_where_lth_is_unknown(ticket: Path, tmp_path: Path) -> None:
    paths = []
    for mode in ("sgd", "ema", "lars", "float16, overflow"):
        train(ticket, tmp_path / mode, 1e-2, **MODES[mode])
        paths.append(tmp_path / mode / "epoch_2.pth")
    torch.save(dict(lth.Ticket.load(ticket).masks), tmp_path / "masks.pth")
    command = [sys.executable, "-c", PLAIN, str(tmp_path / "masks.pth"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.stdout.strip().endswith("loaded 4"), done.stdout + done.stderr


def test_the_watch_notices_a_training_without_masks(ticket: Path, tmp_path: Path) -> None:
    """Shows that the tests above can fail."""
    masks = lth.Ticket.load(ticket).masks
    watch = Watch(masks, 1e-4)
    cfg = toy_config(tmp_path / "run", 1, optim_wrapper={"optimizer": SGD, **NORM})
    runner = LTHRunner.from_cfg(cfg, hooks=(watch,))
    with pytest.raises(AssertionError, match="comparison failed"):
        runner.train()
    zero_pruned(runner.model, masks)
    with pytest.raises(AssertionError):
        watch.require_exact(runner)
