from __future__ import annotations

import lth_core as lth
import pytest
import torch
import torchvision
from lth_core.errors import LTHError, MaskError, ScopeError
from lth_core.scope import (
    common_prefix,
    describe_misfit,
    find_prefixes,
    is_twin,
    join_some,
    locate,
    prunable_in,
    strip_wrappers,
    unwrap,
)
from torch import nn

from .helpers import Backbone, Classifier, MMLike, MoCoLike, golden, resnet


def count(model: nn.Module, names: tuple[str, ...]) -> int:
    return sum(model.get_parameter(name).numel() for name in names)


# Number of weights in scope from the protocol sheet (papers A and C), by hand for ResNet-18.
@pytest.mark.parametrize(
    ("name", "total", "stem"),
    [
        ("resnet18", 11_157_504, 9_408),
        ("resnet50", 23_445_504, 9_408),
        ("resnet152", 57_982_976, 9_408),
    ],
)
def test_torchvision_resnets(name, total, stem):
    model = resnet(name)
    without, with_stem = lth.prunable(model), lth.prunable(model, stem=True)
    assert count(model, without) == total
    assert set(with_stem) - set(without) == {"conv1.weight"}
    assert count(model, with_stem) == total + stem
    assert not any(name.startswith(("fc", "bn", "conv1")) for name in without)
    assert all(model.get_parameter(name).dim() == 4 for name in without)


@pytest.mark.parametrize(("stem", "key"), [(False, "resnet18"), (True, "resnet18_with_stem")])
def test_scope_is_that_of_the_papers_code(stem, key):
    entry = golden()[key]
    assert entry["stem"] is stem
    assert set(lth.prunable(resnet(), stem=stem)) == set(entry["levels"][0]["kept_per_layer"])


def test_torchvision_vgg():
    with torch.device("meta"):
        model = torchvision.models.vgg11_bn()
    names = lth.prunable(model)
    assert names == tuple(f"features.{i}.weight" for i in (4, 8, 11, 15, 18, 22, 25))
    both = lth.prunable(model, kinds=("conv", "linear"))
    # Two hidden linear layers come in, the third is the head.
    assert set(both) - set(names) == {"classifier.0.weight", "classifier.3.weight"}


def test_order_is_that_of_registration():
    assert lth.prunable(Backbone(), stem=True) == (
        "conv1.weight",
        "layer1.0.conv1.weight",
        "layer1.0.conv2.weight",
    )


def test_openmmlab_model_gives_its_backbone_only():
    assert lth.prunable(MMLike()) == (
        "backbone.layer1.0.conv1.weight",
        "backbone.layer1.0.conv2.weight",
    )
    assert lth.prunable(MMLike(), stem=True)[0] == "backbone.conv1.weight"
    inner = Backbone()
    inner.backbone = nn.Conv2d(1, 1, 1)  # the shallowest of that name is the one
    assert lth.prunable(MMLike(inner)) == (*lth.prunable(MMLike()), "backbone.backbone.weight")


def test_a_deep_stem_is_one_stem():
    for stem_name in ("stem", "conv1"):  # OpenMMLab's name for it, and timm's
        model = MMLike(nn.Sequential())
        model.backbone.add_module(
            stem_name, nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        )
        model.backbone.add_module("layer1", nn.Sequential(nn.Conv2d(4, 4, 3)))
        assert lth.prunable(model) == ("backbone.layer1.0.weight",)
        assert len(lth.prunable(model, stem=True)) == 3


def test_shared_weights_are_named_once():
    model = Backbone()
    model.layer1.append(model.layer1[0])
    again = nn.Conv2d(4, 4, 3, bias=False)
    again.weight = model.layer1[0].conv2.weight
    model.add_module("again", again)
    assert lth.prunable(model) == ("layer1.0.conv1.weight", "layer1.0.conv2.weight")


def test_a_shared_stem_stays_out_under_every_name():
    model = Backbone()
    model.conv0 = model.conv1
    assert all("conv0" not in name and name != "conv1.weight" for name in lth.prunable(model))


@pytest.mark.parametrize("depth", [1, 2])
def test_wrappers_do_not_show(depth):
    model = wrapped = MMLike()
    for _ in range(depth):
        wrapped = nn.DataParallel(wrapped)
    compiled = torch.compile(wrapped, backend="eager")
    for outer in (wrapped, compiled):
        assert unwrap(outer) is model
        names = lth.prunable(outer)
        assert names == lth.prunable(model)
        assert lth.MaskSet.ones(outer, names) == lth.MaskSet.ones(model, names)
        assert locate(outer, lth.MaskSet.ones(outer, names)) == ("", [])


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("module.conv1.weight", "conv1.weight"),
        ("_orig_mod.module.conv1.weight", "conv1.weight"),
        ("module._orig_mod.module.conv1.weight", "conv1.weight"),
        ("layer1.module.weight", "layer1.module.weight"),
        ("modulex.weight", "modulex.weight"),
    ],
)
def test_strip_wrappers(name, plain):
    assert strip_wrappers(name) == plain


def test_twins_are_not_in_scope():
    assert lth.prunable(MoCoLike()) == (
        "encoder_q.layer1.0.conv1.weight",
        "encoder_q.layer1.0.conv2.weight",
    )
    model = nn.Module()
    model.teacher = MMLike()
    model.student = MMLike()
    assert all(name.startswith("student.backbone.") for name in lth.prunable(model))
    del model.student  # nothing else is there
    assert all(name.startswith("teacher.backbone.") for name in lth.prunable(model))


def test_is_twin_looks_at_whole_parts_of_a_name():
    assert is_twin("encoder_k.")
    assert is_twin("model.momentum_encoder.module.0.")
    assert not is_twin("encoder_q.")
    assert not is_twin("cinema.")
    assert not is_twin("schema.ema2.")


def test_no_convolution_is_an_error_that_says_so():
    with pytest.raises(ScopeError, match="Sequential has no conv weight to prune"):
        lth.prunable(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    with pytest.raises(ScopeError, match="backbone"):
        lth.prunable(MMLike(nn.Linear(3, 3)))
    with pytest.raises(ScopeError):  # nothing but a stem
        lth.prunable(nn.Sequential(nn.Conv2d(3, 3, 3)))
    with pytest.raises(ScopeError):  # one linear layer is a head
        lth.prunable(nn.Sequential(nn.Linear(3, 3)), kinds=("linear",))
    with pytest.raises(ScopeError, match="unknown kind 'norm'"):
        lth.prunable(Backbone(), kinds=("conv", "norm"))


def test_linear_layers():
    mlp = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert lth.prunable(mlp, kinds=("linear",)) == ("0.weight", "2.weight")
    # In a backbone no linear layer is a head.
    assert len(lth.prunable(MMLike(mlp), kinds=("linear",))) == 3
    assert lth.prunable(Classifier(), kinds=("conv", "linear")) == lth.prunable(Classifier())


@pytest.mark.parametrize("layer", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_convolutions_of_any_dimension(layer):
    model = nn.Sequential(layer(2, 2, 1), nn.BatchNorm1d(2), layer(2, 2, 3))
    assert lth.prunable(model) == ("2.weight",)


def test_deformable_convolutions_are_in_scope_and_their_offsets_are_not():
    model = Backbone()
    model.layer1[0].conv2 = torchvision.ops.DeformConv2d(4, 4, 3)
    model.layer1[0].conv2.conv_offset = nn.Conv2d(4, 18, 3)
    assert lth.prunable(model) == lth.prunable(Backbone())
    assert lth.prunable(model, stem=True) == lth.prunable(Backbone(), stem=True)
    assert set(prunable_in(model.state_dict())) == set(lth.prunable(model))
    # A layer that is called so, and is no such predictor, is an ordinary one.
    model.layer1[0].conv_offsets = nn.Conv2d(4, 4, 3)
    assert "layer1.0.conv_offsets.weight" in lth.prunable(model)


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("order", [list, sorted, lambda names: sorted(names, reverse=True)])
def test_scope_of_bare_weights_is_that_of_the_model(stem, order):
    model = resnet()
    state = model.state_dict()
    names = prunable_in({name: state[name] for name in order(state)}, stem=stem)
    assert set(names) == set(lth.prunable(model, stem=stem))


def test_scope_of_bare_weights_knows_deep_stems_and_refuses_nothing_to_prune():
    weights = {f"stem.{i}.weight": torch.zeros(2, 2, 3, 3) for i in (0, 3)}
    with pytest.raises(ScopeError, match="no convolution"):
        prunable_in(weights)
    weights["layer1.weight"] = torch.zeros(2, 2, 3, 3)
    weights["fc.weight"] = torch.zeros(2, 2)
    assert prunable_in(weights) == ("layer1.weight",)


def test_find_prefixes_wants_every_name_and_shape():
    weight = torch.zeros(2, 3)
    wanted = {"a.weight": weight, "b.weight": weight}
    present = {
        "full.a.weight": weight,
        "full.b.weight": weight,
        "a.weight": weight,  # without its b
        "other.a.weight": weight.T,
        "other.b.weight": weight,
        "la.weight": weight,  # ends alike, but is another module
        "lb.weight": weight,
    }
    assert find_prefixes(wanted, present) == ["full."]
    present |= {"ema.a.weight": weight, "ema.b.weight": weight}
    assert find_prefixes(wanted, present) == ["full.", "ema."]  # although ema is shorter
    present["b.weight"] = weight
    assert find_prefixes(wanted, present) == ["", "full.", "ema."]
    assert find_prefixes({}, present) == [""]


def test_of_two_backbones_the_first_is_taken_everywhere():
    """As in mmdet's DeepSORT, where a re-identifier follows the detector."""
    model = nn.ModuleDict({"detector": MMLike(Backbone()), "reid": MMLike(Backbone())})
    names = lth.prunable(model)
    assert names[0].startswith("detector.backbone.")
    masks = lth.Ticket(lth.MaskSet.ones(model, names)).masks
    assert locate(model, masks) == ("detector.backbone.", [])
    ticket = lth.Ticket(masks, model.state_dict())
    for name, mask in masks.items():
        assert mask.all()
        weight = model.get_parameter(f"detector.backbone.{name}")
        assert torch.equal(ticket.weights[name], weight)


def test_locate_finds_the_twins_of_a_model():
    masks = lth.MaskSet.ones(Backbone(), lth.prunable(Backbone()))
    assert locate(Backbone(), masks) == ("", [])
    assert locate(MMLike(), masks) == ("backbone.", [])
    assert locate(MoCoLike(), masks) == ("encoder_q.", ["encoder_k."])
    frozen = MoCoLike().requires_grad_(False)
    assert locate(frozen, masks) == ("encoder_q.", ["encoder_k."])
    model = nn.ModuleDict({"copy": Backbone().requires_grad_(False), "net": Backbone()})
    assert locate(model, masks) == ("net.", ["copy."])  # frozen beside a trained one: a twin
    partly = MMLike()
    partly.backbone.conv1.requires_grad_(False)
    assert locate(partly, masks) == ("backbone.", [])
    assert locate(partly.requires_grad_(False), masks) == ("backbone.", [])


def test_locate_says_what_does_not_fit():
    masks = lth.MaskSet.ones(Backbone(), lth.prunable(Backbone()))
    with pytest.raises(MaskError, match=r"Linear: layer1\.0\.conv1\.weight is missing"):
        locate(nn.Linear(2, 2), masks)
    message = r"layer1\.0\.conv1\.weight is \(8, 8, 3, 3\), not \(4, 4, 3, 3\)"
    with pytest.raises(MaskError, match=message):
        locate(MMLike(Backbone(8)), masks)
    assert issubclass(MaskError, LTHError)


def test_a_misfit_is_described_where_most_fits():
    wanted = {f"{name}.weight": torch.zeros(2) for name in "abc"}
    present = {
        "neck.a.weight": torch.zeros(2),
        "backbone.a.weight": torch.zeros(2),
        "backbone.b.weight": torch.zeros(3),
        "auxiliary.c.weight": torch.zeros(2),
    }
    expected = "b.weight is (3,), not (2,), c.weight is missing"
    assert describe_misfit(wanted, present) == expected
    # As much fits here and there: the shorter prefix is the likelier one.
    present["auxiliary.b.weight"] = torch.zeros(2)
    assert describe_misfit(wanted, present) == expected


def test_long_lists_are_cut():
    assert join_some("abc") == "a, b, c"
    assert join_some("abcde") == "a, b, c and 2 more"
    assert join_some([]) == ""
    wanted = {f"{i}.weight": torch.zeros(1) for i in range(9)}
    assert describe_misfit(wanted, {}).endswith("is missing and 6 more")


class Retriever(nn.Module):
    """As mmpretrain's: backbone and neck in one sequence, and no module called backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(Backbone(), nn.Sequential(nn.Linear(4, 4)))
        self.head = nn.Linear(4, 5)


class ImageAndText(nn.Module):
    """As mmpretrain's BLIP: the text comes first, and could be pruned as well."""

    def __init__(self) -> None:
        super().__init__()
        self.text_backbone = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.visual_encoder = Backbone()


@pytest.mark.parametrize(
    ("model", "prefix"), [(Retriever(), "image_encoder.0."), (ImageAndText(), "visual_encoder.")]
)
def test_a_model_without_a_backbone_has_a_part_that_sees_the_image(model, prefix):
    inner = lth.prunable(Backbone(), kinds=("conv", "linear"))
    assert lth.prunable(model, kinds=("conv", "linear")) == tuple(prefix + n for n in inner)
    assert lth.prunable(model, stem=True)[0] == prefix + "conv1.weight"
    # A ticket of it fits a plain backbone, and the other way round.
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    assert tuple(lth.Ticket(masks).masks) == tuple(sorted(lth.prunable(Backbone())))
    assert lth.Ticket(masks).apply(model).prefix == prefix
    assert lth.Ticket(masks).apply(Backbone()).prefix == ""


def test_a_module_called_backbone_wins_over_all_other_names():
    model = MMLike()
    model.image_encoder = Backbone()
    assert lth.prunable(model)[0].startswith("backbone.")


def test_another_part_can_be_named():
    model = ImageAndText()
    names = lth.prunable(model, kinds=("linear",), backbone="text_backbone")
    assert names == ("text_backbone.0.weight", "text_backbone.1.weight")
    with pytest.raises(ScopeError, match=r"no module 'text' .*parts are text_backbone, visual"):
        lth.prunable(model, backbone="text")


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["module.backbone.conv1.weight", "module.backbone.fc.weight"], "module.backbone."),
        (["detector.backbone.0.weight"], "detector.backbone."),
        (["backbone.backbone.a.weight", "backbone.b.weight"], "backbone."),
        (["backbone.backbone.a.weight", "backbone.backbone.b.weight"], "backbone.backbone."),
        (["my_backbone.a.weight"], ""),
        (["image_encoder.0.conv1.weight", "image_encoder.0.conv2.weight"], "image_encoder.0."),
        (["image_encoder.0.conv1.weight", "image_encoder.1.weight"], "image_encoder."),
        (["backbone.a.weight", "neck.a.weight"], ""),
        (["module.a.weight"], "module."),
        (["a.weight"], ""),
        ([], ""),
    ],
)
def test_what_names_have_before_the_backbones_own(names, prefix):
    assert common_prefix(names) == prefix
