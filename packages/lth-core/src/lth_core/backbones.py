"""Foreign checkpoints: the one backbone in a file, brought to torchvision's names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lth_core.checkpoints import read_checkpoint
from lth_core.errors import CheckpointError
from lth_core.layouts import LAYOUTS, Layout, architecture, missing
from lth_core.normalizing import Normalization, find_normalizations
from lth_core.scope import TWINS, dotted_ends, is_twin, join_some, strip_wrappers

HEADS = ("fc.", "head.", "classifier.", "last_linear.")
"""Names that belong to a classifier's or projection head, never to a backbone."""

_OWN_LAYERS = re.compile(r"classifier\.\d")
# But inside of a part called backbone these are AlexNet's and VGG's layers below the head.

_BESIDE = (
    *HEADS,
    *TWINS,
    # Other heads, projections and necks that stand beside a bare backbone's own modules.
    "heads.",
    "linear.",
    "neck.",
    "projector.",
    "projection.",
    "projection_head.",
    "predictor.",
    "prototypes.",
    "decode_head.",
    "auxiliary_head.",
    "bbox_head.",
    "rpn_head.",
    "roi_head.",
    # Normalisation of the input inside the model, and attacks around it (robust models).
    "normalize.",
    "normalizer.",
    "data_preprocessor.",
    "attacker.",
    # MoCo's negatives.
    "queue",
)


@dataclass(frozen=True)
class BackboneReport:
    """What :func:`read_backbone` found in a file.

    Attributes:
        prefix: Where the backbone lies, with the file's keys and without wrappers:
            ``"state_dict.encoder_q."``.
        layout: How the file names it.
        arch: Which of torchvision's ResNets it is, None if none.
        matched: Canonical names of the tensors taken.
        left: The file's names of all other tensors: heads, twins, queues.
        missing: Canonical names that a ResNet of these blocks has and the file has not.
        fused: Weights that the file holds as ``weight_orig`` and ``weight_mask``: their product
            was taken.
        normalizations: What layers in front of the network, which are no part of a backbone, make
            of pixels.
    """

    prefix: str
    layout: str
    arch: str | None
    matched: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    fused: tuple[str, ...] = ()
    normalizations: tuple[Normalization, ...] = ()

    @property
    def unusual(self) -> str:
        """One line on pixels that are normalised in another way than ImageNet's; else nothing."""
        odd = [str(each) for each in self.normalizations if not each.is_usual]
        return (
            f"its model normalises pixels {' and '.join(odd)}; that is left out with the layer in "
            "front, and the weights go on fitting such pixels"
            if odd
            else ""
        )

    def __str__(self) -> str:
        where = f" at {self.prefix.rstrip('.')}" if self.prefix else ""
        lines = [f"matched {len(self.matched)} tensors{where} ({self.arch or 'backbone'}, "]
        lines[0] += f"{self.layout})"
        if self.fused:
            lines.append(f"{len(self.fused)} of them pruned: weight_orig times weight_mask")
        for each in self.normalizations:
            lines.append(f"pixels were normalised in the model, {each}")
        if self.left:
            lines.append(f"left {len(self.left)}: {join_some(self.left)}")
        lines.append(f"missing {len(self.missing)}" + ": " * bool(self.missing))
        lines[-1] += join_some(self.missing)
        return "; ".join(lines)


def load_backbone(path: str | Path, prefix: str | None = None) -> dict[str, Tensor]:
    """The backbone's weights in a checkpoint of any known format, with torchvision's names.

    Known: torchvision and timm files; MoCo's, where ``encoder_q`` wins over ``encoder_k``;
    SimCLR's converted to torchvision's names and SimCLRv2's as converted by Separius (without
    selective kernels); mmpretrain's, mmdet's and mmseg's; DINO's, VICReg's and Barlow Twins';
    robust models (MadryLab's ``robustness`` and Salman's, fast and free adversarial training,
    RobustBench's, advertorch's, paper C's); Lightning's; lth's own tickets with weights;
    safetensors; weights pruned by ``torch.nn.utils.prune``; and anything that keeps one backbone
    under one prefix. Heads are left out, and layers that normalise pixels: if they do so in
    another way than is usual on ImageNet, a warning tells.

    Args:
        path: A ``.pth``-like file, read with ``weights_only=True``, or ``.safetensors``.
        prefix: Which of several backbones to take (``"teacher."``), named as in the file.

    Returns:
        Tensors by name, on the CPU, in the file's dtypes: ``conv1.weight``,
        ``bn1.running_mean``, ...

    Raises:
        CheckpointError: If the file is missing, unreadable, unsafe, holds no backbone, or holds
            several different ones that are no copies (twins), and ``prefix`` names none.
    """
    found, report = read_backbone(path, prefix)
    if report.unusual:
        warnings.warn(f"{path}: {report.unusual}", stacklevel=2)
    return found


def read_backbone(
    path: str | Path, prefix: str | None = None
) -> tuple[dict[str, Tensor], BackboneReport]:
    """As :func:`load_backbone`, with a report of what matched, what was left and is missing."""
    checkpoint = read_checkpoint(path)
    state = checkpoint.model
    is_ticket = any(name.startswith("mask/") for name in state)
    if is_ticket:
        state = _ticket_weights(path)
    elif prefix is not None:
        # Asked for by name, a part may also lie beside the model: an average.
        state = checkpoint.beside | state
        prefix = _beginning(prefix, checkpoint.container, state)
    state, fused = fuse_pruned(state)
    layers, normalizations = find_normalizations(state)
    everything, state = state, {name: t for name, t in state.items() if name not in layers}
    place, layout = _choose(path, state, prefix)
    found, names = _extract(state, place, layout, is_ticket)
    if not any(tensor.dim() >= (2 if "backbone." in place else 3) for tensor in found.values()):
        raise CheckpointError(
            f"{path} holds no backbone: its {len(everything)} tensors are called "
            f"{join_some(everything) or 'nothing'}"
        )
    inside = not any(name in checkpoint.beside for name in names)
    report = BackboneReport(
        checkpoint.container * inside + place,
        layout.name,
        architecture(found),
        tuple(found),
        tuple(name for name in checkpoint.beside | everything if name not in names),
        missing(found),
        tuple(canonical for canonical, name in zip(found, names, strict=True) if name in fused),
        normalizations,
    )
    return found, report


def fuse_pruned(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], frozenset[str]]:
    """``state`` as the network computes with it: ``x_orig * x_mask`` instead of the two.

    Raises:
        CheckpointError: If the two have different shapes.
    """
    fused: dict[str, Tensor] = {}
    pruned = []
    for name, tensor in state.items():
        name_of = name.removesuffix("_orig")
        mask = state.get(f"{name_of}_mask")
        if name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in state:
            continue
        if name == name_of or mask is None:
            fused[name] = tensor
            continue
        if mask.shape != tensor.shape:
            raise CheckpointError(
                f"{join_some([name])} is {tuple(tensor.shape)}, its mask {tuple(mask.shape)}"
            )
        fused[name_of] = tensor.masked_fill(mask == 0, 0)
        pruned.append(name_of)
    return fused, frozenset(pruned)


def _ticket_weights(path: str | Path) -> dict[str, Tensor]:
    from lth_core.ticket import Ticket  # which stands above this module

    weights = Ticket.load(path).weights
    if weights is None:
        raise CheckpointError(f"{path} is a ticket without weights; name a file that holds some")
    return weights


def _beginning(prefix: str, container: str, state: Mapping[str, Tensor]) -> str:
    """A user's prefix as names in ``state`` begin: without container and wrappers."""
    prefix = prefix.removesuffix(".") + "." if prefix else ""
    if any(name.startswith(prefix) for name in state):
        return prefix
    return strip_wrappers(prefix.removeprefix(container))


def _choose(
    path: str | Path, state: Mapping[str, Tensor], prefix: str | None
) -> tuple[str, Layout]:
    """Where the backbone lies and how it is named.

    By its first block, or else by a part that is called backbone. Twins give way. Of equal ones
    (a model and the same model inside its attacker) the shortest prefix is taken.
    """
    places = [(p, layout) for p, layout in _candidates(state) if p.startswith(prefix or "")]
    if not places:
        if prefix and not any(name.startswith(prefix) for name in state):
            raise CheckpointError(
                f"{path} holds nothing under prefix {prefix!r}: its tensors are called "
                f"{join_some(state) or 'nothing'}"
            )
        return prefix or "", LAYOUTS[0]
    twin = [is_twin(place) for place, _ in places]
    best = [entry for entry, is_copy in zip(places, twin, strict=True) if is_copy == min(twin)]
    best.sort(key=lambda entry: (len(entry[0]), entry[0]))
    first = best[0]
    if prefix is not None and first[0] == prefix:
        return first
    reference = _extract(state, *first)[0]
    others = [e for e in best[1:] if not _equal(reference, _extract(state, *e)[0])]
    if others and not min(twin):
        named = [place or "the names without prefix" for place, _ in (first, *others)]
        raise CheckpointError(
            f"{path} holds {1 + len(others)} different backbones: {join_some(named, 8)}; "
            "say which with prefix="
        )
    return first


def _candidates(state: Mapping[str, Tensor]) -> list[tuple[str, Layout]]:
    """Every place in ``state`` where a backbone may lie."""
    anchors = {anchor: layout for layout in LAYOUTS for anchor in layout.anchors}
    found: dict[str, Layout] = {}
    for name in state:
        for end in dotted_ends(name):
            layout, place = anchors.get(end), name.removesuffix(end)
            if layout is not None and all(place + need in state for need in layout.needs):
                found.setdefault(place, layout)
    if not found:
        parts = (("." + name).partition(".backbone.") for name in state)
        found = {(head + part)[1:]: LAYOUTS[0] for head, part, _ in parts if part}
    return list(found.items())


def _extract(
    state: Mapping[str, Tensor], place: str, layout: Layout, is_ticket: bool = False
) -> tuple[dict[str, Tensor], dict[str, None]]:
    """The backbone at ``place`` by canonical names, and what the file calls its tensors."""
    is_backbone = is_ticket or place.endswith("backbone.")
    found: dict[str, Tensor] = {}
    taken: dict[str, None] = {}
    for name, tensor in state.items():
        inner = name[len(place) :]
        if not name.startswith(place) or _is_beside(inner, is_backbone):
            continue
        canonical = layout.translate(inner)
        if layout.refused is not None and re.match(layout.refused, inner):
            raise CheckpointError(
                f"{join_some([name])} is of a network with selective kernels, for whose weights "
                "torchvision has no names; take a plain ResNet's file"
            )
        if canonical is not None and canonical not in found:
            found[canonical], taken[name] = tensor, None
    return found, taken


def _is_beside(name: str, is_backbone: bool) -> bool:
    """Whether a tensor belongs to no backbone; ``is_backbone`` says that it lies in one's part."""
    own = is_backbone and _OWN_LAYERS.match(name) is not None
    return name.startswith(_BESIDE) and not own


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and torch.equal(tensor, other[name])
        for name, tensor in one.items()
    )
