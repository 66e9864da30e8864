"""Every way of training, next to the same training of ``weight * mask`` at 90 % sparsity."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.attaching import zero_pruned
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .helpers import Classifier, bits, random_masks

STEPS = 5
BACKEND = "aot_eager"
OVERFLOW = 2.0**30
"""A loss scale at which the first gradients do not fit float16; the next one is 2 ** 20 smaller."""


def sgd(parameters: Iterable[Tensor]) -> Optimizer:
    return SGD(parameters, 0.1, momentum=0.9, weight_decay=5e-3)


@dataclass
class Mode:
    """How a model is trained; the default is SGD with clipping of the norm."""

    optimizer: Callable[[Iterable[Tensor]], Optimizer] = sgd
    clip: str = "norm"
    accumulate: int = 1
    dtype: torch.dtype | None = None
    scale: float | None = None
    channels_last: bool = False
    compile: str = ""
    tied: bool = False


MODES = {
    "sgd": Mode(),
    "nesterov": Mode(lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=5e-3)),
    "adam": Mode(lambda p: Adam(p, 0.01, weight_decay=0.01)),
    "adam, one by one": Mode(lambda p: Adam(p, 0.01, amsgrad=True, foreach=False)),
    "adam, fused": Mode(lambda p: Adam(p, 0.01, fused=True)),
    "adamw": Mode(lambda p: AdamW(p, 0.01, weight_decay=0.05)),
    "no clipping": Mode(clip=""),
    "clip by value": Mode(clip="value"),
    "adamw, clip by value": Mode(lambda p: AdamW(p, 0.01), clip="value"),
    "accumulation": Mode(accumulate=3),
    "adam, accumulation": Mode(lambda p: Adam(p, 0.01), accumulate=3),
    "bfloat16": Mode(dtype=torch.bfloat16),
    "adamw, bfloat16": Mode(lambda p: AdamW(p, 0.01), dtype=torch.bfloat16),
    "float16, scaled": Mode(dtype=torch.float16, scale=1024.0),
    "float16, overflow": Mode(dtype=torch.float16, scale=OVERFLOW),
    "adamw, float16, overflow": Mode(
        lambda p: AdamW(p, 0.01), dtype=torch.float16, scale=OVERFLOW, accumulate=2
    ),
    "channels last": Mode(channels_last=True),
    "adam, channels last": Mode(lambda p: Adam(p, 0.01), channels_last=True),
    "compiled, then attached": Mode(compile="before"),
    "attached, then compiled": Mode(compile="after"),
    "compiled in place": Mode(compile="method"),
    "compiled, bfloat16": Mode(compile="before", dtype=torch.bfloat16, channels_last=True),
    "tied": Mode(tied=True),
    "adamw, tied": Mode(lambda p: AdamW(p, 0.01), tied=True, accumulate=2),
}


def build(mode: Mode) -> tuple[nn.Module, lth.MaskSet]:
    """A classifier and masks at 90 % sparsity, pruned weights at zero."""
    torch.manual_seed(0)
    model = Classifier(width=8)
    if mode.tied:
        model.layer1[0].conv2.weight = model.layer1[0].conv1.weight
    if mode.channels_last:
        model.to(memory_format=torch.channels_last)
    masks = random_masks(model, keep=0.1)
    zero_pruned(model, masks)
    return model, masks


def loss_of(forward: Callable[[Tensor], Tensor], step: int, mode: Mode) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(6, 3, 8, 8, generator=generator)
    y = torch.randint(5, (6,), generator=generator)
    if mode.channels_last:
        x = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", mode.dtype, enabled=mode.dtype is not None):
        return F.cross_entropy(forward(x).float(), y)


@dataclass
class Training:
    """What came of a training, step by step."""

    model: nn.Module
    optimizer: Optimizer
    scales: list[float] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    averages: list[dict[str, Tensor]] = field(default_factory=list)

    def record_gradients(self, *_: Any) -> None:
        self.gradients.append({n: p.grad.clone() for n, p in self.model.named_parameters()})


def train(
    mode: Mode,
    model: nn.Module,
    prepare: Callable[[nn.Module, Optimizer], tuple[Callable[[Tensor], Tensor], Any]],
    before_backward: Callable[[int, float], None] = lambda step, scale: None,
) -> Training:
    """Trains ``model`` as ``mode`` says.

    Args:
        mode: The way of training.
        model: What is trained.
        prepare: Makes of model and optimizer what is called, and a link or None.
        before_backward: Called with the batch's number and the loss's scale.
    """
    optimizer = mode.optimizer(model.parameters())
    done = Training(model, optimizer)
    # Before lth's own hook, so that it sees what backward() and clipping have left.
    optimizer.register_step_pre_hook(done.record_gradients)
    forward, link = prepare(model, optimizer)
    scaler = torch.amp.GradScaler(
        "cpu", mode.scale or 1.0, backoff_factor=2.0**-20, enabled=mode.scale is not None
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(STEPS):
        optimizer.zero_grad()
        for part in range(mode.accumulate):
            batch = step * mode.accumulate + part
            before_backward(batch, scaler.get_scale())
            scaler.scale(loss_of(forward, batch, mode) / mode.accumulate).backward()
        scaler.unscale_(optimizer)
        if mode.clip == "norm":
            done.norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5))
        elif mode.clip == "value":
            nn.utils.clip_grad_value_(model.parameters(), 1e-3)
        scaler.step(optimizer)
        scaler.update()
        done.scales.append(scaler.get_scale())
        average.update_parameters(model)
        done.averages.append({n: p.detach().clone() for n, p in average.module.named_parameters()})
        if link is not None:
            link.check()
    return done


def compare_with_reference(mode: Mode, tolerance: float = 0.0, backend: str = BACKEND) -> None:
    """Trains a ticket and ``weight * mask`` in the same way and requires the same of both."""
    model, masks = build(mode)
    start = {name: bits(tensor) for name, tensor in model.named_parameters()}
    free: list[float] = []
    live: list[float] = []
    sums: dict[str, Tensor] = {}

    def measure(batch: int, scale: float) -> None:
        """The gradients of a copy that knows no masks."""
        if batch % mode.accumulate == 0:
            sums.clear()
        freed = copy.deepcopy(model)
        (loss_of(freed, batch, mode) / mode.accumulate * scale).backward()
        for name, parameter in freed.named_parameters():
            assert parameter.grad is not None
            sums[name] = sums.get(name, torch.tensor(0.0)) + parameter.grad.double() / scale
        if batch % mode.accumulate == mode.accumulate - 1:
            free.append(float(torch.cat([g.flatten() for g in sums.values()]).norm()))
            kept = [g[masks[n]] if n in masks else g.flatten() for n, g in sums.items()]
            live.append(float(torch.cat(kept).norm()))

    def attach(plain: nn.Module, optimizer: Optimizer) -> tuple[Callable[[Tensor], Tensor], Any]:
        forward = torch.compile(plain, backend=backend) if mode.compile == "before" else plain
        link = lth.attach(forward, masks, optimizer)
        if mode.compile == "after":
            forward = torch.compile(plain, backend=backend)
        elif mode.compile == "method":
            plain.compile(backend=backend)
        return forward, link

    def multiply(plain: nn.Module, _: Optimizer) -> tuple[Callable[[Tensor], Tensor], Any]:
        def forward(x: Tensor) -> Tensor:
            weights = {n: plain.get_parameter(n) * mask for n, mask in masks.items()}
            return functional_call(plain, weights, (x,))

        return forward, None

    reference = train(mode, copy.deepcopy(model), multiply)
    # A copy of a model that compile() has changed would be compiled anew in every step.
    ours = train(mode, model, attach, (lambda b, s: None) if mode.compile else measure)
    skipped = 1 if mode.scale == OVERFLOW else 0
    assert (ours.scales[0] < mode.scale) if skipped else len(set(ours.scales)) == 1
    assert ours.scales == reference.scales
    assert len(ours.gradients) == len(reference.gradients) == STEPS - skipped

    # The norm that clips is that of the live weights.
    torch.testing.assert_close(ours.norms, reference.norms, rtol=tolerance, atol=0, equal_nan=True)
    assert [bool(norm.isfinite()) for norm in ours.norms[:skipped]] == [False] * skipped
    for index, norm in enumerate(ours.norms[skipped:] if live else ()):
        assert float(norm) == pytest.approx(live[skipped + index], rel=1e-5)
        assert free[skipped + index] > 1.02 * live[skipped + index]

    # Zeros, and everything else as in the reference.
    _require_zeros(ours, masks)
    for mine, theirs in (
        *zip(ours.gradients, reference.gradients, strict=True),
        *zip(ours.averages, reference.averages, strict=True),
        (dict(ours.model.state_dict()), dict(reference.model.state_dict())),
        (_states(ours), _states(reference)),
    ):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    for name, parameter in ours.model.named_parameters():
        assert bits(parameter) != start[name], f"{name} was not trained"


def _states(training: Training) -> dict[str, Tensor]:
    return {
        f"{name} {key}": state
        for name, parameter in training.model.named_parameters()
        for key, state in training.optimizer.state[parameter].items()
        if isinstance(state, Tensor)
    }


def _require_zeros(training: Training, masks: lth.MaskSet) -> None:
    found = 0
    states = _states(training)
    for name, mask in masks.items():
        weight = training.model.get_parameter(name).detach()
        assert not any(bits(weight[~mask]))
        for each in (*training.gradients, *training.averages):
            assert not each[name][~mask].any()
            assert each[name][mask].any()
        for key, state in states.items():
            if key.startswith(name + " ") and state.shape == mask.shape:
                assert not state[~mask].any()
                assert state[mask].any()
                found += 1
    assert found >= len(masks)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_as_weight_times_mask(mode: Mode) -> None:
    torch.compiler.reset()
    # Compiled backward passes add up in another order.
    tolerance = 0.0 if not mode.compile else 1e-5 if mode.dtype is None else 1e-2
    compare_with_reference(mode, tolerance)


def test_generated_code() -> None:
    """Inductor, which needs a C++ compiler; without one, what comes before it."""
    torch.compiler.reset()
    compiler = any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl"))
    compare_with_reference(
        Mode(compile="before"), 1e-4, backend="inductor" if compiler else BACKEND
    )


def test_a_compiled_step_with_gradients_changed_by_hand() -> None:
    """Backward, a change by hand, clipping and the optimizer in one compiled function."""
    torch.compiler.reset()
    mode = Mode()
    model, masks = build(mode)
    optimizer = mode.optimizer(model.parameters())
    link = lth.attach(model, masks, optimizer)

    @torch.compile(backend=BACKEND)
    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        for name in masks:
            model.get_parameter(name).grad.add_(1)
        optimizer.step()

    for seed in range(3):
        step(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))
        link.check()
    for name, mask in masks.items():
        assert not any(bits(model.get_parameter(name)[~mask]))
        assert model.get_parameter(name).grad[mask].gt(0.5).all()


def test_a_tied_weight_is_named_once_and_zero_under_both_names() -> None:
    mode = Mode(tied=True)
    model, masks = build(mode)
    assert list(masks) == ["layer1.0.conv1.weight"]
    optimizer = mode.optimizer(model.parameters())
    lth.attach(model, masks, optimizer)
    loss_of(model, 0, mode).backward()
    optimizer.step()
    mask = masks["layer1.0.conv1.weight"]
    state = model.state_dict()
    for name in ("layer1.0.conv1.weight", "layer1.0.conv2.weight"):
        assert not any(bits(state[name][~mask]))
        assert state[name][mask].all()
