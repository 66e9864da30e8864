"""Foreign checkpoints as their publishers write them, with real ResNets of small width."""

from __future__ import annotations

import argparse
from collections import OrderedDict

import lth_core as lth
import numpy as np
import pytest
import torch
import torchvision
from lth_core.backbones import load_backbone, read_backbone
from lth_core.checkpoints import _inert_globals
from lth_core.errors import CheckpointError
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from .helpers import Backbone, Classifier, MMLike, bits, random_masks


def resnet50(seed: int = 0) -> nn.Module:
    """torchvision's ResNet-50 with narrow bottlenecks, so that it is small and its names real."""
    torch.manual_seed(seed)
    model = torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=3, width_per_group=1
    )
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return model


MODEL = resnet50()
STATE = {n: t for n, t in MODEL.state_dict().items() if not n.startswith("fc.")}
OTHER = {n: t + 1 for n, t in MODEL.state_dict().items()}
FC = {n: t for n, t in MODEL.state_dict().items() if n.startswith("fc.")}


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def read(tmp_path, content, **options):
    torch.save(content, tmp_path / "w.pth")
    return read_backbone(tmp_path / "w.pth", **options)


def same(found: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> bool:
    return {n: bits(t) for n, t in found.items()} == {n: bits(t) for n, t in expected.items()}


def simclr_v2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the modules of the converter's network, from the first to the last of each block."""
    renamed = {}
    inside = {"conv1": "net.0", "bn1": "net.1.0", "conv2": "net.2", "bn2": "net.3.0"} | {
        "conv3": "net.4",
        "bn3": "net.5.0",
        "downsample.0": "projection.shortcut",
        "downsample.1": "projection.bn.0",
    }
    for name, tensor in state.items():
        module, _, kind = name.rpartition(".")
        if module in ("conv1", "bn1"):
            place = {"conv1": "net.0.0", "bn1": "net.0.1.0"}[module]
        else:
            stage, block, rest = module.split(".", 2)
            place = f"net.{stage.removeprefix('layer')}.blocks.{block}.{inside[rest]}"
        renamed[f"{place}.{kind}"] = tensor
    return renamed


MEAN = torch.zeros(1, 3, 1, 1)
EXTRA = {"module.queue": torch.zeros(4, 9), "module.queue_ptr": torch.zeros(1)}
FILES = {
    "torchvision": (MODEL.state_dict(), ""),
    "MoCo, query alone": ({"state_dict": under("module.encoder_q.")}, "state_dict.encoder_q."),
    "MoCo, everything": (
        {
            "epoch": 800,
            "state_dict": under("module.encoder_k.", OTHER)
            | under("module.encoder_q.")
            | {"module.encoder_q.fc.0.weight": torch.zeros(2, 2)}
            | EXTRA,
            "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []},
        },
        "state_dict.encoder_q.",
    ),
    "SimCLR": ({"state_dict": MODEL.state_dict()}, "state_dict."),
    "SimCLRv2": (
        {"resnet": simclr_v2(STATE) | FC, "head": {"layers.0.weight": torch.zeros(2, 2)}},
        "resnet.",
    ),
    "mmpretrain": (
        {
            "meta": {"epoch": 12, "cfg": "model = dict()"},
            "state_dict": OrderedDict(
                under("backbone.") | under("head.", FC) | {"data_preprocessor.mean": MEAN}
            ),
            "ema_state_dict": under("module.backbone.", OTHER) | {"steps": torch.zeros(())},
            "message_hub": {"lr": np.float64(0.1), "history": np.arange(3.0)},
        },
        "state_dict.backbone.",
    ),
    "mmdet semi-supervised": (
        under("teacher.backbone.", OTHER) | under("student.backbone."),
        "student.backbone.",
    ),
    "DINO": (
        {
            "student": under("module.backbone.") | {"module.head.mlp.0.weight": torch.zeros(2, 2)},
            "teacher": under("backbone.", OTHER),
            "args": argparse.Namespace(arch="resnet50", out_dim=60000),
            "epoch": 3,
        },
        "student.module.backbone.",
    ),
    "VICReg": ({"model": under("module.backbone.") | EXTRA}, "model.backbone."),
    "Barlow Twins": (
        {"model": under("module.backbone.") | {"module.projector.0.weight": torch.zeros(2, 2)}},
        "model.backbone.",
    ),
    "robust, salman": (
        {
            "model": {
                "module.normalizer.new_mean": MEAN,
                **under("module.model."),
                "module.attacker.normalize.new_mean": MEAN,
                **under("module.attacker.model."),
            }
        },
        "model.model.",
    ),
    "robust, normalised inside": (
        {"state_dict": {"normalize.mean": MEAN, "normalize.std": MEAN} | MODEL.state_dict()},
        "state_dict.",
    ),
    "Lightning": (
        {
            "state_dict": under("momentum_backbone.", OTHER)
            | under("backbone.")
            | {"projector.0.weight": torch.zeros(2, 2)},
            "hyper_parameters": {"lr": 1},
            "optimizer_states": [],
        },
        "state_dict.backbone.",
    ),
    "Lightning, children": (
        {
            "state_dict": under(
                "backbone.",
                nn.Sequential(*list(MODEL.children())[:-1]).state_dict(),
            )
        },
        "state_dict.backbone.",
    ),
    "compiled": (under("_orig_mod."), ""),
    "compiled and parallel": ({"model": under("module._orig_mod.")}, "model."),
    "compiled in part": (under("backbone._orig_mod."), "backbone."),
}


@pytest.mark.parametrize("name", FILES)
def test_published_formats(tmp_path, name):
    content, prefix = FILES[name]
    found, report = read(tmp_path, content)
    assert same(found)
    assert report.prefix == prefix
    assert report.arch == "ResNet-50"
    assert set(report.matched) == set(STATE)
    assert report.missing == report.fused == ()
    assert "matched 318 tensors" in str(report)
    # It is plain, so that it can be saved and read again.
    torch.save(found, tmp_path / "again.pth")
    assert same(load_backbone(tmp_path / "again.pth"))


def test_every_tensor_of_a_file_is_matched_or_left(tmp_path):
    content, _ = FILES["MoCo, everything"]
    _, report = read(tmp_path, content)
    names = {n.removeprefix("module.") for n in content["state_dict"]}
    assert {f"encoder_q.{name}" for name in report.matched} | set(report.left) == names
    assert {"queue", "queue_ptr", "encoder_q.fc.0.weight"} <= set(report.left)
    _, report = read(tmp_path, FILES["mmpretrain"][0])
    assert "ema_state_dict.steps" in report.left


def test_what_is_missing_is_what_torchvision_has_and_the_file_has_not(tmp_path):
    gone = {"bn1.running_var", "layer2.3.conv2.weight", "layer3.0.downsample.0.weight"} | {
        name for name in STATE if name.startswith("layer4.1.bn3.")
    }
    state = {name: tensor for name, tensor in STATE.items() if name not in gone}
    _, report = read(tmp_path, {"state_dict": state})
    assert set(report.missing) == {n for n in gone if not n.endswith("num_batches_tracked")}
    assert "missing 7: bn1.running_var" in str(report)


@pytest.mark.parametrize(
    ("block", "layers", "arch"),
    [
        (torchvision.models.resnet.BasicBlock, [2, 2, 2, 2], "ResNet-18"),
        (torchvision.models.resnet.BasicBlock, [3, 4, 6, 3], "ResNet-34"),
        (torchvision.models.resnet.Bottleneck, [3, 4, 23, 3], "ResNet-101"),
        (torchvision.models.resnet.Bottleneck, [3, 8, 36, 3], "ResNet-152"),
        (torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], None),
    ],
)
def test_architectures_are_complete(tmp_path, block, layers, arch):
    with torch.device("meta"):
        model = torchvision.models.ResNet(block, layers)
    state = {name: torch.empty(1).expand(t.shape)[:1].clone() if t.dim() == 4 else torch.zeros(1)
             for name, t in model.state_dict().items()}  # fmt: skip
    _, report = read(tmp_path, state)
    assert report.arch == arch
    assert report.missing == ()


# ---------------------------------------------------------------------------------------------
# Several candidates


def test_different_backbones_are_refused_unless_one_is_named(tmp_path):
    content = {"state_dict": under("module.rgb.") | under("module.depth.", OTHER)}
    with pytest.raises(CheckpointError, match=r"holds 2 different backbones: rgb\., depth\.; say"):
        read(tmp_path, content)
    for prefix in ("rgb", "rgb.", "module.rgb.", "state_dict.module.rgb."):
        found, report = read(tmp_path, content, prefix=prefix)
        assert same(found)
        assert report.prefix == "state_dict.rgb."
    with pytest.raises(CheckpointError, match=r"nothing under prefix 'infrared\.'"):
        read(tmp_path, content, prefix="infrared")
    content = {"left.backbone.0.weight": torch.zeros(2, 2), "right.backbone.0.weight": MEAN}
    with pytest.raises(CheckpointError, match="2 different backbones"):
        read(tmp_path, content)


def test_a_twin_is_taken_when_it_is_asked_for(tmp_path):
    average = {n: t for n, t in OTHER.items() if not n.startswith("fc.")}
    for name, prefix in [
        ("MoCo, everything", "encoder_k."),
        ("DINO", "teacher"),
        ("mmpretrain", "ema_state_dict"),
        ("Lightning", "momentum_backbone"),
    ]:
        found, _ = read(tmp_path, FILES[name][0], prefix=prefix)
        assert same(found, average)


def test_equal_ones_are_no_choice(tmp_path):
    found, report = read(tmp_path, under("b.") | under("a."))
    assert same(found)
    assert report.prefix == "a."
    changed = under("b.") | under("a.")
    changed["a.bn1.weight"] = changed["a.bn1.weight"] + 1
    with pytest.raises(CheckpointError, match="different"):
        read(tmp_path, changed)


# ---------------------------------------------------------------------------------------------
# Others


def test_pruned_by_torch(tmp_path):
    """The reference is what torch's own hook computes for the weight."""
    model = Classifier()
    for module in (model.layer1[0].conv1, model.layer1[0].conv2):
        torch_prune.random_unstructured(module, "weight", 0.5)
    expected = {
        "layer1.0.conv1.weight": model.layer1[0].conv1.weight,
        "layer1.0.conv2.weight": model.layer1[0].conv2.weight,
    }
    found, report = read(tmp_path, model.state_dict())
    assert set(report.fused) == set(expected)
    assert set(found) == {n for n in Classifier().state_dict() if not n.startswith("fc.")}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    broken = model.state_dict() | {"layer1.0.conv1.weight_mask": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"its mask \(2,\)"):
        read(tmp_path, broken)


def test_simclr_v2_with_selective_kernels_has_no_torchvision_names(tmp_path):
    state = simclr_v2(STATE) | {"net.1.blocks.0.net.2.main_conv.0.weight": torch.zeros(2, 2, 3, 3)}
    with pytest.raises(CheckpointError, match="selective kernels"):
        read(tmp_path, {"resnet": state})


@pytest.mark.parametrize(
    "content",
    [
        {"transformer.h.0.attn.weight": torch.zeros(4, 4), "transformer.wte.weight": MEAN[0, 0]},
        {"encoder.weight": torch.zeros(4, 4)},
    ],
)
def test_what_fits_nothing_is_refused_by_its_first_names(tmp_path, content):
    with pytest.raises(CheckpointError, match=rf"holds no backbone: .*{next(iter(content))}"):
        read(tmp_path, content)


def test_one_name_twice_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds conv1\.weight twice"):
        read(tmp_path, under("") | under("module."))


def test_logs_of_mmengine_are_no_obstacle_and_are_not_made(tmp_path):
    """A checkpoint as its trainings end with; the logs' methods are pickled as getattr calls."""
    logging = pytest.importorskip("mmengine.logging")
    hub = logging.MessageHub.get_instance("test_backbones")
    hub.update_scalar("train/lr", 0.1)
    content = FILES["mmpretrain"][0] | {"message_hub": hub.state_dict()}
    assert same(read(tmp_path, content)[0])
    with _inert_globals():
        inert = torch.load(tmp_path / "w.pth", weights_only=True)["message_hub"]
    assert {type(log).__name__ for log in inert["log_scalars"].values()} == {"_Inert"}


def test_reading_leaves_the_allowed_globals_of_others_alone(tmp_path):
    torch.serialization.add_safe_globals([Backbone])
    try:
        before = torch.serialization.get_safe_globals()
        read(tmp_path, FILES["DINO"][0])
        with pytest.raises(CheckpointError):  # although the user's torch.load would make it
            read(tmp_path, {"model": Backbone()})
        assert set(torch.serialization.get_safe_globals()) == set(before)
    finally:
        torch.serialization.clear_safe_globals()


def test_a_ticket_of_what_was_loaded_fits_its_model(tmp_path):
    found, _ = read(tmp_path, FILES["SimCLRv2"][0])
    ticket = lth.Ticket(random_masks(MODEL), found)
    model = MMLike(resnet50(1))
    model.backbone.fc = nn.Identity()
    report = ticket.apply(model)
    assert not report.left
    assert not report.missing
