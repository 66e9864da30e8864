"""2:4 layers: everything but the kernel, which needs a GPU."""

from __future__ import annotations

import lth_core as lth
import pytest
import torch
import torchvision
from lth_core.compaction import largest_error
from lth_core.compaction.semi_structured import PointwiseConv2d, semi_structured
from lth_core.errors import ConfigError, MaskError
from torch import Tensor, nn
from torch.sparse import _semi_structured_conversions as conversions


def plain(weight: Tensor) -> Tensor:
    """Packs as CUTLASS's kernels read it, and unpacks; what is not 2:4 does not come through."""
    half = weight.half()
    packed, places = conversions.sparse_semi_structured_from_dense_cutlass(half)
    assert packed.shape == (weight.shape[0], weight.shape[1] // 2)
    return conversions.sparse_semi_structured_to_dense_cutlass(packed, places).to(weight.dtype)


def of_two_of_four(model: nn.Module) -> nn.Module:
    """Half-precision numbers, two of every four of each prunable weight zero."""
    names = [*lth.prunable(model), "fc.weight"]
    masks = lth.prune(model, lth.MaskSet.ones(model, names), structure="2:4")
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.half().float() * masks.get(name, torch.tensor(1.0))
    return model.eval()


def test_packed_layers_compute_the_same() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=32, width_per_group=64)
    of_two_of_four(model)
    found, packed = semi_structured(model, plain)
    pointwise = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    }
    assert set(packed) == pointwise | {"fc"}
    assert {n for n, m in found.named_modules() if isinstance(m, PointwiseConv2d)} == pointwise
    assert any(found.get_submodule(name).stride == (2, 2) for name in pointwise)
    pictures = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        for layout in (torch.contiguous_format, torch.channels_last):
            given = pictures.contiguous(memory_format=layout)
            assert largest_error([found(given)], [model(given)]) < 1e-5


def test_what_does_not_fit_stays() -> None:
    """Layers that are dense, small, padded or grouped."""
    model = nn.Sequential(
        nn.Conv2d(64, 64, 1),  # dense
        nn.Conv2d(64, 64, 1, bias=False),
        nn.Conv2d(64, 48, 1),  # 48 outputs
        nn.Conv2d(48, 64, 1, padding=1),
        nn.Conv2d(64, 64, 1, groups=2),
        nn.Conv2d(64, 64, 3),
    ).eval()
    for module in list(model)[1:]:
        weight = module.weight.data
        weight[:, 0::4] = weight[:, 3::4] = 0
    found, packed = semi_structured(model, plain)
    assert packed == ["1"]
    assert [type(m) for m in found].count(nn.Conv2d) == 5
    pictures = torch.randn(2, 64, 6, 5)
    assert largest_error([found(pictures)], [model(pictures)]) < 1e-2  # half precision
    model[1].weight.data[0, 0] = 1.0
    model[1].weight.data[0, 3] = 1.0
    with pytest.raises(MaskError, match="no layer of Sequential can use 2:4 kernels"):
        semi_structured(model, plain)


def test_without_such_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(64, 32)
    with pytest.raises(ConfigError, match=r"capability 8\.0 or newer; it is on cpu"):
        semi_structured(model)

    class Elsewhere:
        device, dtype = torch.device("cuda:0"), torch.float32

    monkeypatch.setattr(nn.Linear, "parameters", lambda self: iter([Elsewhere]))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    for capability, message in (((7, 0), "Tesla V100 has 7.0"), ((9, 0), "is torch.float32")):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device, given=capability: given
        )
        with pytest.raises(ConfigError, match=message):
            semi_structured(model)
