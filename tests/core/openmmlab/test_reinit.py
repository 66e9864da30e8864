"""``ticket.weights='reinit'``: fresh values by the model's own initialisers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lth_core as lth
import pytest
import torch
from lth_core.errors import ConfigError, TicketError
from lth_core.openmmlab import LTHRunner, TicketHook
from lth_core.openmmlab.reinit import drop_pretrained, loads_pretrained
from lth_core.openmmlab.settings import parse_ticket
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from .toy import ToyBackbone, ToyClassifier, toy_config

ABSENT = {"type": "Pretrained", "checkpoint": "absent.pth"}
QUARTERS = {"type": "Constant", "layer": "Conv2d", "val": 0.25, "bias": 0.125}


@MODELS.register_module(force=True)
class OwnStart(BaseModule):
    """The toy backbone with an initialiser of its own, as OpenMMLab's ResNet has one."""

    def __init__(self, init_cfg: Any = None, frozen: bool = False) -> None:
        super().__init__(init_cfg or QUARTERS)
        for name, module in ToyBackbone().named_children():
            self.add_module(name, module)
        if frozen:
            self.conv2.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
        return x


@MODELS.register_module(force=True)
class DefaultStart(OwnStart):
    """The same with its initialiser as a default, as mmpretrain's: None means none at all."""

    def __init__(self, init_cfg: Any = QUARTERS) -> None:
        super().__init__(init_cfg or {"type": "Constant", "layer": "Conv2d", "val": 9})


@MODELS.register_module(force=True)
class OwnStartClassifier(ToyClassifier):
    def __init__(self, backbone: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = MODELS.build(backbone)


class Start(Hook):
    """Keeps what a training starts with, and where torch's random stream is then."""

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 0:
            self.stream = torch.get_rng_state()
            self.state = {n: t.clone() for n, t in runner.model.state_dict().items()}


def start(work_dir: Path, ticket: Path, settings: dict[str, Any], **changes: Any) -> Start:
    cfg = toy_config(work_dir, 1, ticket={"path": str(ticket), **settings}, **changes)
    seen = Start()
    LTHRunner.from_cfg(cfg, (seen,)).train()
    return seen


def own_start(**backbone: Any) -> dict[str, Any]:
    return {"type": "OwnStartClassifier", "backbone": {"type": "OwnStart", **backbone}}


def expect(state: dict[str, torch.Tensor], masks: lth.MaskSet, value: float) -> None:
    for name, mask in masks.items():
        assert torch.equal(state["backbone." + name], torch.where(mask, value, 0.0)), name


@pytest.mark.parametrize("kind", ["OwnStart", "DefaultStart"])
@pytest.mark.parametrize(
    ("init_cfg", "value"),
    [
        (None, 0.25),
        (ABSENT, 0.25),
        ([ABSENT], 0.25),
        ([ABSENT, QUARTERS | {"val": 0.75}], 0.75),
    ],
)
def test_survivors_start_as_the_initialiser_says(
    init_cfg: Any, value: float, kind: str, ticket: Path, tmp_path: Path
) -> None:
    """The file that the config names is not there, so nobody can have read it."""
    backbone = {"type": kind} if init_cfg is None else {"type": kind, "init_cfg": init_cfg}
    model = {"type": "OwnStartClassifier", "backbone": backbone}
    seen = start(tmp_path / "run", ticket, {"weights": "reinit"}, model=model)
    expect(seen.state, lth.Ticket.load(ticket).masks, value)
    assert bool((seen.state["backbone.conv1.weight"] == value).all()), "the stem is dense"
    assert bool((seen.state["backbone.conv3.bias"] == 0.125).all())
    assert bool((seen.state["backbone.bn1.running_var"] == 1).all())


def test_a_checkpoint_that_is_loaded_keeps_the_rest_of_the_model(
    ticket: Path, tmp_path: Path
) -> None:
    nines = {n: torch.full_like(t, 9) for n, t in ToyClassifier().state_dict().items()}
    torch.save({"state_dict": nines}, tmp_path / "nines.pth")
    seen = start(
        tmp_path / "run",
        ticket,
        {"weights": "reinit"},
        model=own_start(),
        load_from=str(tmp_path / "nines.pth"),
    )
    expect(seen.state, lth.Ticket.load(ticket).masks, 0.25)
    assert bool((seen.state["backbone.bn1.running_var"] == 1).all())
    assert bool((seen.state["head.weight"] == 9).all())


def test_a_variants_survivors_start_fresh_too(ticket: Path, tmp_path: Path) -> None:
    settings = {"weights": "reinit", "variant": "complement"}
    seen = start(tmp_path / "run", ticket, settings, model=own_start(init_cfg=ABSENT))
    expect(seen.state, ~lth.Ticket.load(ticket).masks, 0.25)


def test_the_seed_alone_decides_the_backbone_and_nothing_else(ticket: Path, tmp_path: Path) -> None:
    masks = lth.Ticket.load(ticket).masks

    def begin(name: str, settings: dict[str, Any], seed: int) -> Start:
        return start(tmp_path / name, ticket, settings, randomness={"seed": seed})

    first = begin("first", {"weights": "reinit"}, seed=0)
    again = begin("again", {"weights": "reinit", "seed": 0}, seed=5)
    other = begin("other", {"weights": "reinit", "seed": 1}, seed=0)
    kept = begin("kept", {"weights": "keep"}, seed=0)
    for name, tensor in first.state.items():
        if name.startswith("backbone."):
            assert torch.equal(again.state[name], tensor), name
        else:  # the head is the config's own
            assert torch.equal(kept.state[name], tensor), name
    assert not torch.equal(again.state["head.weight"], first.state["head.weight"])
    assert torch.equal(first.stream, kept.stream)
    for name, mask in masks.items():
        values = first.state["backbone." + name]
        assert not bool(values[~mask].any())
        for seen in (other, kept):
            assert not bool((seen.state["backbone." + name] == values)[mask].any())
        # torch's own initialiser: uniform within 1 / sqrt(fan in), here 72.
        assert 0.9 < float(values.abs().max()) * 72**0.5 <= 1
    stem = first.state["backbone.conv1.weight"]
    assert 0.9 < float(stem.abs().max()) * 27**0.5 <= 1


def test_going_on_gives_the_bits_of_an_undisturbed_training(ticket: Path, tmp_path: Path) -> None:
    def train(name: str, epochs: int, **changes: Any) -> nn.Module:
        settings = {"path": str(ticket), "weights": "reinit", "seed": 2}
        cfg = toy_config(tmp_path / name, epochs, ticket=settings, **changes)
        runner = LTHRunner.from_cfg(cfg)
        runner.train()
        return runner.model

    whole = train("whole", 3).state_dict()
    train("parts", 1)
    parts = train("parts", 3, resume=True).state_dict()
    for name, tensor in whole.items():
        assert torch.equal(parts[name], tensor), name


def test_a_ticket_of_another_architecture_is_refused(ticket: Path, tmp_path: Path) -> None:
    with pytest.raises(TicketError, match=r"toy\.safetensors: .*not fit") as caught:
        start(
            tmp_path / "run",
            ticket,
            {"weights": "reinit"},
            model={"type": "ToyClassifier", "width": 4},
        )
    assert "\n" not in str(caught.value)


def test_a_model_that_was_built_by_hand_cannot_be_built_again(ticket: Path, tmp_path: Path) -> None:
    cfg = toy_config(tmp_path / "run")
    cfg.pop("model")
    names = ("train_dataloader", "optim_wrapper", "train_cfg", "default_hooks")
    runner = Runner(
        ToyClassifier(),
        str(tmp_path / "run"),
        **{name: cfg[name] for name in names},
        experiment_name="built by hand",
    )
    runner.register_hook(TicketHook(parse_ticket({"path": str(ticket), "weights": "reinit"})))
    with pytest.raises(ConfigError, match=r"'reinit' builds the model anew.*use weights='keep'"):
        runner.train()


@pytest.mark.parametrize("frozen", [False, True])
def test_random_weights_that_are_frozen_are_warned_of(
    frozen: bool, ticket: Path, tmp_path: Path
) -> None:
    start(tmp_path / "run", ticket, {"weights": "reinit"}, model=own_start(frozen=frozen))
    log = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.log"))
    assert ("1 of the weights that start at random are frozen (conv2.weight)" in log) == frozen


def test_everything_pretrained_is_taken_out_of_a_config_and_nothing_else() -> None:
    config = ConfigDict(
        type="Segmenter",
        pretrained="open-mmlab://resnet50_v1c",
        backbone={"type": "TIMM", "pretrained": True, "init_cfg": [ABSENT, QUARTERS]},
        neck={"init_cfg": QUARTERS, "pretrained": False},
        heads=[
            {"init_cfg": {"type": PretrainedInit, "checkpoint": "x"}},
            {"pretrained": None},
            {"init_cfg": None},
            {"init_cfg": {"checkpoint": "untyped.pth"}},
        ],
        test_cfg={"checkpoint": "not an initialiser's"},
    )
    drop_pretrained(config)
    assert config == {
        "type": "Segmenter",
        "pretrained": None,
        "backbone": {"type": "TIMM", "pretrained": False, "init_cfg": [QUARTERS]},
        "neck": {"init_cfg": QUARTERS, "pretrained": False},
        "heads": [{}, {"pretrained": None}, {"init_cfg": None}, {}],
        "test_cfg": {"checkpoint": "not an initialiser's"},
    }
    assert config.test_cfg.checkpoint  # still mmengine's dicts, which models rely on


@pytest.mark.parametrize(
    ("model", "loads"),
    [
        ({"type": "A", "pretrained": "open-mmlab://resnet50_v1c"}, True),  # as segmentors have it
        ({"backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": "x.pth"}}}, True),
        ({"backbone": {"init_cfg": {"checkpoint": "x.pth"}}}, True),  # as mmdet's PVT has it
        ({"parts": [{"init_cfg": [{"type": "Kaiming"}, {"type": "Pretrained"}]}]}, True),
        ({"pretrained": None, "backbone": {"init_cfg": {"type": "Kaiming"}}}, False),
        ({"backbone": {"init_cfg": None}}, False),
    ],
)
def test_whatever_loads_weights_is_seen(model: dict[str, Any], loads: bool) -> None:
    before = copy.deepcopy(model)
    assert loads_pretrained(model) == loads
    assert model == before
