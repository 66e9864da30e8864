"""Trainings from a ticket, in every mode that changes how weights move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.errors import ConfigError, RunError, TicketError
from lth_core.openmmlab import LTHRunner, TicketHook
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from .toy import ToyClassifier, toy_config

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
ADAMW = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.05}
MODES: dict[str, dict[str, Any]] = {
    "sgd": {"optim_wrapper": {"optimizer": SGD}},
    "nesterov": {"optim_wrapper": {"optimizer": SGD | {"nesterov": True}}},
    "adamw": {"optim_wrapper": {"optimizer": ADAMW}},
    "clip by norm": {"optim_wrapper": {"optimizer": SGD, "clip_grad": {"max_norm": 0.1}}},
    "clip by value": {
        "optim_wrapper": {
            "optimizer": SGD,
            "clip_grad": {"type": "value", "clip_value": 0.01},
        }
    },
    "accumulation": {"optim_wrapper": {"optimizer": SGD, "accumulative_counts": 3}},
    "paramwise": {
        "optim_wrapper": {
            "optimizer": SGD,
            "paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.1}}},
        }
    },
    "channels last": {"custom_hooks": [{"type": "ChannelsLastHook"}]},
    "ema": {"custom_hooks": [{"type": "EMAHook", "momentum": 0.1}]},
    "late ema": {"custom_hooks": [{"type": "EMAHook", "begin_epoch": 1}]},
}


def pruned_entries(model: nn.Module, masks: lth.MaskSet) -> torch.Tensor:
    """All values of ``model`` that ``masks`` prunes, as one vector."""
    weights = dict(model.named_parameters())
    return torch.cat([weights["backbone." + n].detach()[~m] for n, m in masks.items()])


@pytest.mark.parametrize("mode", MODES)
def test_pruned_weights_stay_zero(mode: str, ticket: Path, tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    cfg = toy_config(tmp_path / "run", ticket={"path": str(ticket)}, **MODES[mode])
    runner = LTHRunner.from_cfg(cfg)
    masks = lth.Ticket.load(ticket).masks
    runner.train()
    optimizer = runner.optim_wrapper.optimizer
    parameters = dict(runner.model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters["backbone." + name]
        seen.append(parameter.detach()[~mask])
        seen += [
            state[~mask]
            for state in optimizer.state[parameter].values()
            if isinstance(state, torch.Tensor) and state.shape == mask.shape
        ]
    for hook in runner.hooks:
        if hasattr(hook, "ema_model"):
            seen.append(pruned_entries(hook.ema_model.module, masks))
    assert all(bool((values == 0).all()) for values in seen)
    start = lth.Ticket.load(ticket).weights
    assert start is not None
    moved = parameters["backbone.conv3.weight"].detach() != start["conv3.weight"]
    assert bool(moved[masks["conv3.weight"]].any()), "nothing was trained"


def test_clip_norm_is_the_norm_over_live_weights(ticket: Path, tmp_path: Path) -> None:
    norms: list[float] = []

    class SpyOnNorm(Hook):
        def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
            norms.append(runner.message_hub.get_scalar("train/grad_norm").current())

    cfg = toy_config(
        tmp_path / "run",
        epochs=1,
        ticket={"path": str(ticket)},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}, "clip_grad": {"max_norm": 1e9}},
        train_dataloader={
            "batch_size": 32,
            "dataset": {"type": "ToyDataset"},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
    )
    runner = LTHRunner.from_cfg(cfg)
    runner.register_hook(SpyOnNorm())
    runner.train()

    # Again by hand: the gradient of the masked model, with pruned entries taken out.
    model = runner.model
    model.zero_grad()
    model.train()
    batch = next(iter(runner.train_dataloader))
    model(**batch, mode="loss")["loss"].backward()
    masks = lth.Ticket.load(ticket).masks.with_prefix("backbone.")
    total = sum(
        float((p.grad * masks[n] if n in masks else p.grad).double().pow(2).sum())
        for n, p in model.named_parameters()
    )
    assert norms[0] == pytest.approx(total**0.5, rel=1e-5)


def test_checkpoints_are_plain_and_their_pruned_weights_zero(ticket: Path, tmp_path: Path) -> None:
    LTHRunner.from_cfg(toy_config(tmp_path / "run", ticket={"path": str(ticket)})).train()
    with torch.serialization.safe_globals([]):
        torch.serialization.clear_safe_globals()  # as in a process without lth
        checkpoint = torch.load(tmp_path / "run" / "epoch_2.pth", weights_only=True)
    from lth_core.openmmlab import compat

    compat.install()
    model = ToyClassifier()
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    assert bool((pruned_entries(model, lth.Ticket.load(ticket).masks) == 0).all())


@pytest.mark.parametrize(
    "change",
    [
        {"path": "moved.safetensors"},
        {"weights": "moved.pth"},
        {"weights": "keep", "variant": {"type": "random", "among": "moved.pth"}},
    ],
)
def test_only_training_needs_the_files_of_a_ticket(
    change: dict[str, Any], ticket: Path, tmp_path: Path
) -> None:
    LTHRunner.from_cfg(toy_config(tmp_path / "run", ticket={"path": str(ticket)})).train()
    checkpoint = str(tmp_path / "run" / "epoch_2.pth")
    cfg = toy_config(tmp_path / "test", ticket={"path": str(ticket)} | change)
    with pytest.raises(ConfigError, match=r"moved.* does not exist"):
        LTHRunner.from_cfg(cfg).train()
    plain = LTHRunner.from_cfg(toy_config(tmp_path / "plain", load_from=checkpoint))
    cfg.load_from = checkpoint
    assert LTHRunner.from_cfg(cfg).val() == plain.val()


def test_resuming_gives_the_bits_of_an_undisturbed_training(ticket: Path, tmp_path: Path) -> None:
    def config(name: str, epochs: int, **changes: Any) -> Any:
        return toy_config(
            tmp_path / name,
            epochs,
            ticket={"path": str(ticket)},
            param_scheduler=[{"type": "LinearLR", "start_factor": 0.1, "end": 4, "by_epoch": True}],
            **changes,
        )

    whole = LTHRunner.from_cfg(config("whole", 4))
    whole.train()
    LTHRunner.from_cfg(config("parts", 2)).train()
    resumed = LTHRunner.from_cfg(config("parts", 4, resume=True))
    resumed.train()
    for (name, a), b in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


def test_resuming_with_other_masks_is_refused(ticket: Path, tmp_path: Path) -> None:
    LTHRunner.from_cfg(toy_config(tmp_path / "run")).train()
    cfg = toy_config(tmp_path / "run", 3, ticket={"path": str(ticket)}, resume=True)
    with pytest.raises(RunError, match="trained with no masks"):
        LTHRunner.from_cfg(cfg).train()


def test_variants_and_weights(ticket: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = ToyClassifier()
    torch.save({"state_dict": other.state_dict()}, tmp_path / "weights.pth")
    original = lth.Ticket.load(ticket).masks

    def hook(**settings: Any) -> TicketHook:
        from lth_core.openmmlab.settings import parse_ticket

        return TicketHook(parse_ticket({"path": str(ticket), **settings}))

    weights = str(tmp_path / "weights.pth")
    assert hook(weights=weights, variant="complement").masks == ~original
    random = hook(weights=weights, variant={"type": "random", "match": "layer", "seed": 1})
    assert random.masks.layer_sparsity() == original.layer_sparsity()
    assert random.masks != original
    assert random.ticket.weights is not None
    name = "conv3.weight"
    assert torch.equal(
        random.ticket.weights[name], other.backbone.conv3.weight * random.masks[name]
    )
    assert hook(weights="keep").ticket.weights is None


@pytest.mark.parametrize(
    "variant",
    [
        "complement",
        {"type": "random", "among": "dense.pth"},
        {"type": "perturb", "keep_density": True},
        {"type": "shuffle", "unit": "kernel"},
        "even",
    ],
    ids=str,
)
def test_variants_train_from_a_config(
    variant: Any, ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(ToyClassifier().state_dict(), "dense.pth")
    settings = {"path": str(ticket), "weights": "keep", "variant": variant}
    runner = LTHRunner.from_cfg(toy_config(tmp_path / "run", epochs=1, ticket=settings))
    runner.train()
    checkpoint = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=True)
    original = lth.Ticket.load(ticket).masks
    kept = {n: checkpoint["state_dict"]["backbone." + n] != 0 for n in original}
    made = lth.MaskSet(kept)
    assert made != original
    assert made.kept == (original.total - original.kept if variant == "complement" else 173)
    assert made.digest() == checkpoint["lth"]["digest"]


def test_a_ticket_of_another_architecture_is_refused(ticket: Path, tmp_path: Path) -> None:
    cfg = toy_config(
        tmp_path / "run", model={"type": "ToyClassifier", "width": 4}, ticket={"path": str(ticket)}
    )
    with pytest.raises(TicketError, match="does not fit"):
        LTHRunner.from_cfg(cfg).train()
    assert not list((tmp_path / "run").glob("*.pth"))
