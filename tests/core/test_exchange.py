"""Masks and weights to and from others' files; the reference is ``torch.nn.utils.prune`` itself."""

from __future__ import annotations

import copy
import itertools

import lth_core as lth
import pytest
import safetensors.torch
import torch
from lth_core.backbones import load_backbone
from lth_core.errors import CheckpointError, LTHError, MaskError, TicketError
from lth_core.exchange import FORMATS, export, import_tickets, read_chain, read_masks
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from .helpers import Backbone, Classifier, bits, random_masks, state_bits

CONVOLUTIONS = ("conv1", "layer1.0.conv1", "layer1.0.conv2")


def pruned_by_torch(model: nn.Module, amount: float = 0.2, rounds: int = 1) -> nn.Module:
    """As the papers' scripts prune: every convolution, global magnitude, in rounds."""
    pairs = [(model.get_submodule(name), "weight") for name in CONVOLUTIONS]
    for _ in range(rounds):
        torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=amount)
    return model


def extract_mask(model: nn.Module) -> dict[str, Tensor]:
    """The papers' mask dictionary: what is called mask in the state dict."""
    return {n: t.clone() for n, t in model.state_dict().items() if "mask" in n}


def expected(model: nn.Module) -> lth.MaskSet:
    masks = {f"{name}.weight": model.get_submodule(name).weight_mask for name in CONVOLUTIONS}
    return lth.MaskSet({name: mask.bool() for name, mask in masks.items()})


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


MODEL = pruned_by_torch(Classifier())
OTHER = pruned_by_torch(Classifier())
MASKS, STATE = extract_mask(MODEL), MODEL.state_dict()
FILES = {
    "mask-{k}.pt": MASKS,
    "wrapped": under("module.", MASKS),
    "MoCo": under("encoder_q.", MASKS),
    "MoCo, wrapped": under("module.encoder_q.", MASKS),
    "MoCo, both encoders": under("module.encoder_k.", extract_mask(OTHER))
    | under("module.encoder_q.", MASKS),
    "pruned model": STATE,
    "pruned checkpoint": {"state_dict": STATE, "best_acc1": 71.0, "init": Backbone().state_dict()},
    "pruned MoCo checkpoint": {
        "state_dict": under("module.encoder_q.", STATE)
        | under("module.encoder_k.", OTHER.state_dict())
        | {"module.queue": torch.zeros(2, 2)}
    },
    "{k}model_best": {"state_dict": Classifier().state_dict(), "mask": MASKS, "epoch": 3},
    "mask container by weights' names": {
        "state_dict": Classifier().state_dict(),
        "mask": {name.removesuffix("_mask"): mask for name, mask in MASKS.items()},
    },
    "mask container alone": {"mask": under("module.", MASKS)},
    "by weights' names": {name.removesuffix("_mask"): mask for name, mask in MASKS.items()},
    "OpenMMLab": {"state_dict": under("backbone.", STATE) | {"head.fc.weight": torch.ones(2, 2)}},
    "bool": {name: mask.bool() for name, mask in MASKS.items()},
    "int64": {name: mask.long() for name, mask in MASKS.items()},
    "half": {name: mask.half() for name, mask in MASKS.items()},
}


def saved(tmp_path, content, name: str = "w.pt"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", FILES)
def test_mask_files(tmp_path, name):
    assert read_masks(saved(tmp_path, FILES[name])) == expected(MODEL)


def test_safetensors(tmp_path):
    safetensors.torch.save_file(MASKS, tmp_path / "m.safetensors")
    assert read_masks(tmp_path / "m.safetensors") == expected(MODEL)


def test_a_mask_of_one_stage_keeps_its_names(tmp_path):
    """What all its names begin with is part of the backbone's names."""
    part = {name: mask for name, mask in MASKS.items() if name.startswith("layer1.0.")}
    masks = read_masks(saved(tmp_path, under("module.", part)))
    assert set(masks) == {"layer1.0.conv1.weight", "layer1.0.conv2.weight"}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.5"), (-1.0, "-1.0"), (2.0, "2.0"), (float("nan"), "nan")]
)
def test_masks_that_are_not_binary_are_refused_by_value(tmp_path, value, shown):
    masks = copy.deepcopy(MASKS)
    masks["layer1.0.conv2.weight_mask"][1, 2, 0, 1] = value
    with pytest.raises(MaskError, match=rf"layer1\.0\.conv2\.weight .*1 of .* is {shown}$"):
        read_masks(saved(tmp_path, masks))


@pytest.mark.parametrize(
    "content",
    [
        {},
        Classifier().state_dict(),
        {"conv1.weight": torch.zeros(2, 2), "bn1.bias": torch.zeros(2)},
        {"epoch": 3},
    ],
)
def test_masks_are_never_inferred_from_weights(tmp_path, content):
    with pytest.raises(CheckpointError, match="holds no masks"):
        read_masks(saved(tmp_path, content))


def test_a_mask_of_another_shape_than_its_weight(tmp_path):
    state = dict(STATE) | {"conv1.weight_mask": torch.ones(2, 2)}
    with pytest.raises(MaskError, match=r"conv1\.weight_orig is \(4, 3, 3, 3\), its mask \(2, 2\)"):
        read_masks(saved(tmp_path, state))


# ---------------------------------------------------------------------------------------------
# Chains


@pytest.fixture
def chain(tmp_path):
    """Masks of three rounds as the scripts write them, of one model that is pruned on."""
    model, paths = Classifier(), []
    for level in (1, 2, 3):
        pruned_by_torch(model)
        paths.append(saved(tmp_path, extract_mask(model), f"mask-{level}.pt"))
    return paths


def test_a_chain(chain):
    tickets = import_tickets(chain)
    total = sum(m.numel() for m in tickets[0].masks.values())
    kept = [total]
    for _ in chain:
        kept.append(kept[-1] - round(0.2 * kept[-1]))
    assert [ticket.masks.kept for ticket in tickets] == kept[1:]
    assert [ticket.meta["level"] for ticket in tickets] == [1, 2, 3]
    assert all(ticket.meta["stem"] for ticket in tickets)
    for before, after in itertools.pairwise(tickets):
        assert after.meta["parent"] == before.masks.digest()
    assert tickets[0].meta["parent"] is None


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("mask-10.pt", 10),
        ("7model_best.pth.tar", 7),
        ("7-model_best.pth.tar", 7),
        ("12-checkpoint.pth.tar", 12),
        ("resnet50.pth", None),
        ("model_best.pth.tar", None),
    ],
)
def test_levels_by_the_papers_file_names(tmp_path, name, level):
    (ticket,) = import_tickets([saved(tmp_path, MASKS, name)])
    assert ticket.meta.get("level") == level
    assert ticket.meta["source"] == name


def test_files_that_are_no_chain(tmp_path, chain):
    with pytest.raises(MaskError, match=r"mask-2.pt is not nested in .*mask-3.pt: \d+ weights of"):
        read_chain(chain[::-1])
    other = saved(tmp_path, extract_mask(pruned_by_torch(Classifier(8))), "wide.pt")
    with pytest.raises(MaskError, match=r"wide.pt is no next level of .*mask-1.pt: conv1\.weight"):
        read_chain([chain[0], other])
    part = saved(tmp_path, {n: m for n, m in MASKS.items() if n != "conv1.weight_mask"}, "p.pt")
    with pytest.raises(MaskError, match=r"only one of them has conv1\.weight"):
        read_chain([chain[0], part])


# ---------------------------------------------------------------------------------------------
# Start weights


def test_start_weights(tmp_path):
    start = Classifier()
    path = saved(tmp_path, {"state_dict": under("module.encoder_q.", start.state_dict())}, "s.pth")
    (ticket,) = import_tickets([saved(tmp_path, MASKS)], path)
    model = Classifier()
    ticket.apply(model)
    for name in CONVOLUTIONS:
        reference = start.get_submodule(name).weight * MODEL.get_submodule(name).weight_mask
        assert torch.equal(model.get_submodule(name).weight, reference)
    assert bits(model.bn1.weight) == bits(start.bn1.weight)
    assert ticket.meta["weights"] == "s.pth"
    (alone,) = import_tickets([saved(tmp_path, STATE)])  # which holds weights too
    assert alone.weights is None


def test_start_weights_that_do_not_fit(tmp_path):
    path = saved(tmp_path, Backbone(8).state_dict(), "s.pth")
    with pytest.raises(TicketError, match=r"conv1\.weight is \(8, 3, 3, 3\), not \(4, 3, 3, 3\)"):
        import_tickets([saved(tmp_path, MASKS)], path)


# ---------------------------------------------------------------------------------------------
# Export


def ticket_of(model: nn.Module, seed: int = 0) -> lth.Ticket:
    return lth.Ticket(random_masks(model, 0.4, seed, stem=True), model.state_dict(), {"level": 3})


@pytest.mark.parametrize("form", ["papers", "torch-prune"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder_q."])
def test_masks_come_back(tmp_path, form, prefix):
    ticket = ticket_of(Backbone())
    export(ticket, tmp_path / "w.pth", form, prefix)
    masks = read_masks(tmp_path / "w.pth")
    assert masks == ticket.masks
    assert masks.digest() == ticket.masks.digest()


def test_papers_form_is_that_of_their_code(tmp_path):
    """Their det and seg scripts look masks up by name and hand them to torch's pruning."""
    ticket = ticket_of(Backbone())
    export(ticket, tmp_path / "mask-3.pt", "papers")
    content = torch.load(tmp_path / "mask-3.pt", weights_only=True)
    model = Backbone()
    for name in CONVOLUTIONS:
        torch_prune.custom_from_mask(
            model.get_submodule(name), "weight", mask=content.pop(f"{name}.weight_mask")
        )
        mask = model.get_submodule(name).weight_mask
        assert mask.dtype == torch.float32
        assert torch.equal(mask.bool(), ticket.masks[f"{name}.weight"])
    assert not content


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_torch_prune_form_loads_into_a_model_pruned_by_torch(tmp_path, dtype):
    source = Classifier().to(dtype)
    ticket = ticket_of(source)
    export(ticket, tmp_path / "w.pth", "torch-prune")
    model = pruned_by_torch(Classifier().to(dtype))
    model.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=True)
    model.eval()
    model(torch.zeros(1, 3, 4, 4, dtype=dtype))  # its hooks compute the weights
    for name in CONVOLUTIONS:
        module = model.get_submodule(name)
        assert torch.equal(module.weight, ticket.weights[f"{name}.weight"])
        assert module.weight_mask.dtype == dtype
        torch_prune.remove(module, "weight")
    # Made permanent, it is the model of the ticket.
    applied = Classifier().to(dtype)
    ticket.apply(applied)
    assert state_bits(model) == state_bits(applied)


@pytest.mark.parametrize("form", ["dense", "torch-prune"])
def test_weights_come_back_to_the_bit(tmp_path, form):
    ticket = ticket_of(Backbone())
    export(ticket, tmp_path / "w.pth", form)
    back = load_backbone(tmp_path / "w.pth")
    assert {n: bits(t) for n, t in back.items()} == {n: bits(t) for n, t in ticket.weights.items()}
    if form == "torch-prune":
        (again,) = import_tickets([tmp_path / "w.pth"], tmp_path / "w.pth")
        again.save(tmp_path / "again")
        ticket.meta = again.meta
        ticket.save(tmp_path / "first")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "first").read_bytes()


def test_dense_form_is_an_ordinary_state_dict(tmp_path):
    ticket = ticket_of(Classifier())
    export(ticket, tmp_path / "w.pth", "dense")
    model = Classifier()
    model.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=True)
    for name, mask in ticket.masks.items():
        assert not model.get_parameter(name)[~mask].any()


def test_what_cannot_be_exported(tmp_path):
    alone = lth.Ticket(random_masks(Backbone()))
    for form in ("dense", "torch-prune"):
        with pytest.raises(TicketError, match="no weights to write"):
            export(alone, tmp_path / "w.pth", form)
    with pytest.raises(TicketError, match="unknown format 'onnx'; use papers, torch-prune, dense"):
        export(alone, tmp_path / "w.pth", "onnx")
    with pytest.raises(TicketError, match="cannot be written: Is a directory"):
        export(alone, tmp_path, "papers")
    assert set(FORMATS) == {"papers", "torch-prune", "dense"}
    assert issubclass(TicketError, LTHError)
