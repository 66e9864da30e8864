from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path

import lth_core as lth
import pytest
import safetensors.torch
import torch
import torchvision
from lth_core.errors import CheckpointError, LTHError, TicketError
from lth_core.weights import digest, load_backbone, read_state, restore, snapshot
from torch import nn

from .helpers import Backbone, Classifier, MMLike, MoCoLike, bits, random_masks, state_bits, trap

# ---------------------------------------------------------------------------------------------
# Snapshots


def spoilt(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    return model


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, torch.compile])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_restore_is_bit_equal_to_the_snapshot(wrap, dtype):
    model = Classifier().to(dtype)
    with torch.no_grad():
        model.fc.bias[:3] = torch.tensor([-0.0, float("nan"), float("inf")])
        model.bn1.num_batches_tracked.fill_(7)
    before = state_bits(model)
    kept = snapshot(wrap(model))
    assert set(kept) == set(before)
    spoilt(model)
    assert state_bits(model) != before
    assert {name: bits(tensor) for name, tensor in kept.items()} == before  # it is a copy
    restore(wrap(model), kept)
    assert state_bits(model) == before
    spoilt(model)
    assert {name: bits(tensor) for name, tensor in kept.items()} == before


def test_restore_keeps_parameters_where_they_are():
    """Optimizers and hooks hold on to them."""
    model = Classifier()
    parameters = [(id(p), p.data_ptr()) for p in model.parameters()]
    restore(model, {name: tensor + 1 for name, tensor in snapshot(model).items()})
    assert [(id(p), p.data_ptr()) for p in model.parameters()] == parameters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc.bias"), r"Classifier: fc\.bias is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra has no place"),
        (lambda s: s.update({"fc.bias": torch.zeros(9)}), r"fc\.bias is torch\.float32 \(9,\)"),
        (lambda s: s.update({"fc.bias": torch.zeros(5).half()}), r"torch\.float16 \(5,\), not"),
    ],
)
def test_restore_of_other_weights_is_refused_and_changes_nothing(change, message):
    model = Classifier()
    before = state_bits(model)
    weights = {name: tensor + 1 for name, tensor in snapshot(model).items()}
    change(weights)
    with pytest.raises(CheckpointError, match=message) as info:
        restore(model, weights)
    assert "\n" not in str(info.value)
    assert state_bits(model) == before


def test_digest_sees_names_values_shapes_and_dtypes():
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0), "c": torch.tensor(-0.0)}
    variants = [
        base,
        {"a2": base["a"], "b": base["b"], "c": base["c"]},
        base | {"a": base["a"].reshape(3, 2)},
        base | {"a": base["a"].flatten()},
        base | {"a": base["a"].T.contiguous()},
        base | {"a": base["a"].nextafter(torch.tensor(9.0))},
        base | {"a": base["a"].view(torch.int32)},  # the same bytes
        base | {"b": torch.zeros(0, 2)},
        base | {"b": torch.zeros(0, dtype=torch.float64)},
        base | {"c": torch.tensor(0.0)},
        base | {"d": torch.zeros(0)},
        {"a": base["a"]},
        {},
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)
    flipped = base["a"].clone()
    flipped.view(torch.int32)[1, 2] ^= 1
    assert digest(base | {"a": flipped}) != digest(base)


def test_digest_does_not_see_order_memory_format_or_device_copies():
    one = {"a": torch.randn(2, 3, 4, 4), "b": torch.ones(2, dtype=torch.bfloat16)}
    other = {
        "b": torch.ones(4, dtype=torch.bfloat16)[::2],
        "a": one["a"].contiguous(memory_format=torch.channels_last).requires_grad_(),
    }
    assert digest(one) == digest(other)


# ---------------------------------------------------------------------------------------------
# Foreign checkpoints


def without_head(model: nn.Module) -> dict[str, bytes]:
    return {name: b for name, b in state_bits(model).items() if not name.startswith("fc.")}


def found(path: Path) -> dict[str, bytes]:
    weights = load_backbone(path)
    assert all(tensor.device.type == "cpu" for tensor in weights.values())
    return {name: bits(tensor) for name, tensor in weights.items()}


def prefixed(prefix: str, model: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module.model."])
@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_torchvision_style_files_in_any_wrapping(tmp_path, prefix, container):
    model = Classifier()
    state = prefixed(prefix, model)
    torch.save(state if container is None else {container: state, "epoch": 3}, tmp_path / "w.pth")
    assert found(tmp_path / "w.pth") == without_head(model)


def test_a_real_torchvision_file(tmp_path):
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    weights = found(tmp_path / "resnet18-f37072fd.pth")
    assert weights == without_head(model)
    assert not any(name.startswith("fc.") for name in weights)


@pytest.mark.parametrize("order", [list, reversed])
def test_moco_takes_the_query_encoder(tmp_path, order):
    """The papers' code let encoder_k win in silence."""
    query, key = Classifier(), Classifier()
    state = {
        **prefixed("module.encoder_q.", query),
        "module.encoder_q.fc.2.weight": torch.zeros(2, 2),  # MoCo v2's projection
        **prefixed("module.encoder_k.", key),
        "module.queue": torch.zeros(3, 3),
        "module.queue_ptr": torch.zeros(1),
    }
    state = {name: state[name] for name in order(list(state))}
    torch.save({"state_dict": state, "arch": "resnet50"}, tmp_path / "moco.pth.tar")
    assert found(tmp_path / "moco.pth.tar") == without_head(query)


@pytest.mark.parametrize("order", [list, reversed])
@pytest.mark.parametrize(
    "twin", ["momentum_encoder.module.0.", "teacher.", "target_net.", "ema.", "teacher.backbone."]
)
def test_openmmlab_files(tmp_path, twin, order):
    model = MMLike()
    state = {
        **model.state_dict(),
        **prefixed(twin, spoilt(Backbone())),
        "queue": torch.zeros(3, 3),
        "data_preprocessor.mean": torch.zeros(3),
    }
    state = {name: state[name] for name in order(list(state))}
    meta = {"epoch": 12, "classes": ["a"], "cfg": "model = dict()"}
    torch.save({"meta": meta, "state_dict": state, "optimizer": {}}, tmp_path / "epoch_12.pth")
    assert found(tmp_path / "epoch_12.pth") == state_bits(model.backbone)


def test_averaged_weights_beside_the_state_dict_are_not_taken(tmp_path):
    model, average = MMLike(), spoilt(MMLike())
    content = {"ema_state_dict": average.state_dict(), "state_dict": model.state_dict()}
    torch.save(content, tmp_path / "w.pth")
    assert found(tmp_path / "w.pth") == state_bits(model.backbone)


def test_a_backbone_without_resnets_names(tmp_path):
    model = MMLike(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)))
    torch.save(model.state_dict(), tmp_path / "one.pth")
    assert found(tmp_path / "one.pth") == state_bits(model.backbone)
    teacher = spoilt(copy.deepcopy(model))
    torch.save(prefixed("teacher.", teacher) | prefixed("student.", model), tmp_path / "two.pth")
    assert found(tmp_path / "two.pth") == state_bits(model.backbone)


def test_vgg(tmp_path):
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model = nn.ModuleDict({"features": features, "classifier": nn.Linear(4, 2)})
    torch.save(model.state_dict(), tmp_path / "vgg.pth")
    assert found(tmp_path / "vgg.pth") == {
        f"features.{name}": b for name, b in state_bits(features).items()
    }


@pytest.mark.parametrize("prefix", ["", "module.encoder_q."])
def test_safetensors(tmp_path, prefix):
    model = Classifier()
    safetensors.torch.save_file(prefixed(prefix, model), tmp_path / "w.safetensors")
    assert found(tmp_path / "w.safetensors") == without_head(model)


def test_tickets(tmp_path):
    model = Classifier()
    masks = random_masks(model)
    ticket = lth.Ticket(masks, model.state_dict())
    ticket.save(tmp_path / "t.safetensors")
    expected = {n: bits(t) for n, t in ticket.weights.items() if not n.startswith("fc.")}
    assert found(tmp_path / "t.safetensors") == expected
    lth.Ticket(masks).save(tmp_path / "mask.safetensors")
    with pytest.raises(CheckpointError, match="is a ticket without weights"):
        load_backbone(tmp_path / "mask.safetensors")
    data = bytearray((tmp_path / "t.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "t.safetensors").write_bytes(data)
    with pytest.raises(TicketError, match="damaged"):
        load_backbone(tmp_path / "t.safetensors")


def test_what_it_gives_loads_into_torchvisions_model(tmp_path):
    source, model = MoCoLike(), Backbone()
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w.pth")
    result = model.load_state_dict(load_backbone(tmp_path / "w.pth"), strict=True)
    assert not result.missing_keys
    assert state_bits(model) == state_bits(source.encoder_q)


# ---------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.pth.tar", "w"])
@pytest.mark.parametrize(
    "writer",
    [
        torch.save,
        partial(torch.save, _use_new_zipfile_serialization=False),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
    ],
    ids=["zip", "legacy", "pickle"],
)
def test_code_in_a_pickle_is_never_executed(tmp_path, name, writer):
    content = {"state_dict": Backbone().state_dict(), "trap": trap(tmp_path)}
    writer(content, tmp_path / name)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint of tensors") as info:
        load_backbone(tmp_path / name)
    assert "\n" not in str(info.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"PK\x03\x04" + bytes(40), bytes(100), b"\xff" * 100]
)
def test_garbage_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=name):
        load_backbone(tmp_path / name)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_truncated_files_are_refused(tmp_path, kind):
    path = tmp_path / f"w.{kind}"
    if kind == "pth":
        torch.save(Backbone().state_dict(), path)
    else:
        safetensors.torch.save_file(Backbone().state_dict(), path)
    data = path.read_bytes()
    for length in (1, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            load_backbone(path)


def test_missing_files_say_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"looked for {tmp_path}/weights/moco.pth"):
        load_backbone("weights/moco.pth")
    with pytest.raises(CheckpointError):
        load_backbone(tmp_path)
    assert issubclass(CheckpointError, LTHError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list"),
        (torch.zeros(2), "holds a Tensor"),
        ({}, "holds no backbone: its 0 tensors are called nothing"),
        ({"epoch": 3}, "holds no backbone"),
        ({"queue": torch.zeros(3)}, "holds no backbone: its 1 tensors are called queue"),
        ({"head.fc.weight": torch.zeros(3, 3)}, "holds no backbone"),
        ({"state_dict": {"fc.weight": torch.zeros(3, 3)}}, "holds no backbone"),
    ],
)
def test_files_without_a_backbone_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        load_backbone(tmp_path / "w.pth")


def test_read_state_leaves_names_but_for_wrappers(tmp_path):
    content = {"model": {"state_dict": {"module.a": torch.ones(2), "b": torch.ones(1), "n": 3}}}
    torch.save(content, tmp_path / "w.pth")
    assert set(read_state(tmp_path / "w.pth")) == {"a", "b"}
