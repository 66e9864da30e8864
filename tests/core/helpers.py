"""Small models and slow, obvious forms that the tests compare with."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import lth_core as lth
import numpy as np
import torch
import torchvision
from hypothesis import strategies as st
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden" / "magnitude_levels.json"


def golden() -> dict[str, dict]:
    return json.loads(GOLDEN.read_text())


class Block(nn.Module):
    """Two convolutions, norms and a shortcut, named as torchvision names them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + x).relu()


class Backbone(nn.Module):
    """A stem and one block: 3 prunable layers with the stem, 2 without."""

    def __init__(self, width: int = 4, stem_kernel: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, stem_kernel, padding=stem_kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer1(self.bn1(self.conv1(x)).relu()).mean((2, 3))


class Classifier(nn.Module):
    """A torchvision-like classifier: the backbone's modules and ``fc`` side by side."""

    def __init__(self, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        for name, module in Backbone(width).named_children():
            self.add_module(name, module)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.bn1(self.conv1(x)).relu())
        return self.fc(x.mean((2, 3)))


class MMLike(nn.Module):
    """An OpenMMLab-like model: ``backbone``, a neck and a head that hold convolutions too."""

    def __init__(self, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.neck = nn.Conv2d(8, 8, 1)  # registered first, and still no stem
        self.backbone = backbone if backbone is not None else Backbone()
        self.head = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Linear(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head[1](self.backbone(x))


class MoCoLike(nn.Module):
    """Query and key encoders; the key one is registered first, is frozen, and comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_k = Backbone()
        self.encoder_q = Backbone()
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())
        self.encoder_k.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder_q(x)


def resnet(name: str = "resnet18", width: int = 64) -> nn.Module:
    """A torchvision ResNet of any width, without memory for its weights (on the meta device)."""

    class ResNet(torchvision.models.ResNet):
        def _make_layer(self, block: type, planes: int, *args: object, **kwargs: object):
            if planes == 64:  # the first stage, fed by the stem
                self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
                self.bn1 = nn.BatchNorm2d(width)
                self.inplanes = width
            return super()._make_layer(block, planes * width // 64, *args, **kwargs)

    blocks = {
        "resnet18": (torchvision.models.resnet.BasicBlock, [2, 2, 2, 2]),
        "resnet34": (torchvision.models.resnet.BasicBlock, [3, 4, 6, 3]),
        "resnet50": (torchvision.models.resnet.Bottleneck, [3, 4, 6, 3]),
        "resnet152": (torchvision.models.resnet.Bottleneck, [3, 8, 36, 3]),
    }
    with torch.device("meta"):
        return ResNet(*blocks[name])


def random_masks(model: nn.Module, keep: float = 0.5, seed: int = 0, stem: bool = False):
    """Masks of ``model``'s scope in which each weight is kept with probability ``keep``."""
    generator = torch.Generator().manual_seed(seed)
    ones = lth.MaskSet.ones(model, lth.prunable(model, stem=stem))
    return ones.map(lambda mask: torch.rand(mask.shape, generator=generator) < keep)


def positions(masks: lth.MaskSet) -> set[tuple[str, int]]:
    """The kept weights as a Python set of (name, flat index)."""
    return {
        (name, index)
        for name, mask in masks.items()
        for index, bit in enumerate(mask.flatten().tolist())
        if bit
    }


def bits(tensor: Tensor) -> bytes:
    """The bytes of a tensor: equality of these is equality to the bit, for -0.0 and NaN too."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def state_bits(model: nn.Module) -> dict[str, bytes]:
    return {name: bits(tensor) for name, tensor in model.state_dict().items()}


shapes = st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple)
"""Shapes with scalars and empty ones among them."""


@st.composite
def bool_tensors(draw: st.DrawFn, shape: st.SearchStrategy[tuple[int, ...]] = shapes) -> Tensor:
    size = draw(shape)
    count = int(np.prod(size, dtype=int))
    flat = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return torch.tensor(flat, dtype=torch.bool).reshape(size)


names = st.text("ab.", min_size=1, max_size=4)


@st.composite
def mask_sets(draw: st.DrawFn, count: int = 1) -> tuple[lth.MaskSet, ...]:
    """``count`` mask sets of the same names and shapes."""
    layout = draw(st.dictionaries(names, shapes, min_size=1, max_size=4))
    return tuple(
        lth.MaskSet({n: draw(bool_tensors(st.just(shape))) for n, shape in layout.items()})
        for _ in range(count)
    )


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "executed")


def trap(directory: Path) -> object:
    """An object that writes ``directory / "marker"`` when it is unpickled."""
    pickle.loads(pickle.dumps(_Trap(directory / "marker")))
    (directory / "marker").unlink()  # it was there, so the trap works
    return _Trap(directory / "marker")
