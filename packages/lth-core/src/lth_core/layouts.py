"""How the files of others name a ResNet, and what torchvision calls the same weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """One way of naming a backbone's weights.

    Attributes:
        name: For messages.
        anchors: A name of which at least one is in every file of this layout.
        needs: Names that have to be there too.
        rules: Beginning of a name (a regular expression) and what canonical names have instead;
            none where the names are canonical already.
        refused: A regular expression of names that show a network without canonical names.
    """

    name: str
    anchors: tuple[str, ...]
    needs: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()
    refused: str | None = None

    def translate(self, name: str) -> str | None:
        """The canonical name of ``name`` (both without prefix); None if the layout lacks it."""
        if not self.rules:
            return name
        for pattern, replacement in self.rules:
            if match := re.match(pattern, name):
                return match.expand(replacement) + name[match.end() :]
        return None


_SIMCLR_BLOCK = r"net\.([1-4])\.blocks\.(\d+)\."

LAYOUTS = (
    Layout(
        "torchvision names",
        ("layer1.0.conv1.weight", "layer1.0.bn1.weight", "features.0.weight"),
    ),
    # The converter of the official SimCLRv2 files (Separius/SimCLRv2-Pytorch).
    Layout(
        "SimCLRv2 names",
        ("net.1.blocks.0.net.0.weight",),
        rules=(
            (r"net\.0\.0\.", "conv1."),
            (r"net\.0\.1\.0\.", "bn1."),
            (_SIMCLR_BLOCK + r"net\.0\.", r"layer\1.\2.conv1."),
            (_SIMCLR_BLOCK + r"net\.1\.0\.", r"layer\1.\2.bn1."),
            (_SIMCLR_BLOCK + r"net\.2\.", r"layer\1.\2.conv2."),
            (_SIMCLR_BLOCK + r"net\.3\.0\.", r"layer\1.\2.bn2."),
            (_SIMCLR_BLOCK + r"net\.4\.", r"layer\1.\2.conv3."),
            (_SIMCLR_BLOCK + r"net\.5\.0\.", r"layer\1.\2.bn3."),
            (_SIMCLR_BLOCK + r"projection\.shortcut\.", r"layer\1.\2.downsample.0."),
            (_SIMCLR_BLOCK + r"projection\.bn\.0\.", r"layer\1.\2.downsample.1."),
        ),
        refused=r"net\.\d\.blocks\.\d+\.net\.\d+\.main_conv\.",
    ),
    # nn.Sequential(*resnet.children()), as many self-supervised trainings build their encoder.
    Layout(
        "a ResNet's children by number",
        ("4.0.conv1.weight",),
        needs=("0.weight", "1.weight", "1.running_mean", "5.0.conv1.weight"),
        rules=(
            (r"0\.", "conv1."),
            (r"1\.", "bn1."),
            (r"4\.", "layer1."),
            (r"5\.", "layer2."),
            (r"6\.", "layer3."),
            (r"7\.", "layer4."),
        ),
    ),
)

_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn|downsample)")
_ARCHITECTURES: dict[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 2, 2), 2): "ResNet-18",
    ((3, 4, 6, 3), 2): "ResNet-34",
    ((3, 4, 6, 3), 3): "ResNet-50",
    ((3, 4, 23, 3), 3): "ResNet-101",
    ((3, 8, 36, 3), 3): "ResNet-152",
}


def _blocks(names: Iterable[str]) -> dict[int, int]:
    """Number of blocks by stage."""
    found: dict[int, int] = {}
    for name in names:
        # No network has a stage of a thousand blocks, but a name may say so.
        if (match := _BLOCK.match(name)) and len(match[1]) == 1 and len(match[2]) <= 3:
            stage, block = int(match[1]), int(match[2])
            found[stage] = max(found.get(stage, 0), block + 1)
    return found


def architecture(backbone: Mapping[str, Tensor]) -> str | None:
    """Which of torchvision's ResNets this is by its blocks, None if it is none of them."""
    blocks = _blocks(backbone)
    depth = 3 if any(name.endswith(".conv3.weight") for name in backbone) else 2
    sizes = tuple(count for _, count in sorted(blocks.items()))
    return _ARCHITECTURES.get((sizes, depth))


def missing(backbone: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names that a ResNet of these stages and blocks has, and ``backbone`` has not.

    Of its blocks every one has the same number of convolutions, each with a norm. Counters
    (``num_batches_tracked``) are not missed, since old files have none. Nothing is known, and so
    nothing missing, of other networks and of ResNets with other norms.
    """
    blocks = _blocks(backbone)
    if "layer1.0.conv1.weight" not in backbone or not any(".bn" in name for name in backbone):
        return ()
    depth = 3 if any(name.endswith(".conv3.weight") for name in backbone) else 2
    wanted: list[str] = []
    if not any(name.startswith(("stem.", "conv1.0.")) for name in backbone):
        wanted += ["conv1.weight", *_norm("bn1")]
    for stage in range(1, max(blocks) + 1):
        for block in range(blocks.get(stage, 1)):
            place = f"layer{stage}.{block}."
            for number in range(1, depth + 1):
                wanted += [f"{place}conv{number}.weight", *_norm(f"{place}bn{number}")]
            first = block == 0 and (stage > 1 or depth == 3)
            if first or any(name.startswith(f"{place}downsample.") for name in backbone):
                # In some variants a pool stands before the shortcut's convolution.
                pooled = _is_convolution(backbone, f"{place}downsample.1.weight")
                wanted.append(f"{place}downsample.{int(pooled)}.weight")
                wanted += _norm(f"{place}downsample.{int(pooled) + 1}")
    return tuple(name for name in wanted if name not in backbone)


def _is_convolution(backbone: Mapping[str, Tensor], name: str) -> bool:
    return name in backbone and backbone[name].dim() == 4


def _norm(name: str) -> list[str]:
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
