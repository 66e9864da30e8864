"""Which weights may be pruned, and where in a model a backbone's weights are found.

Tickets name weights relative to the backbone (``layer1.0.conv1.weight``). Models carry the
backbone under some prefix (``backbone.`` in OpenMMLab, ``module.backbone.`` once wrapped, nothing
in torchvision), so every use of a ticket starts by finding that prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn

from lth_core.errors import MaskError, ScopeError

_COUNTER = "num_batches_tracked"

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before every name."""

TWINS = (
    "encoder_k.",
    "momentum_encoder.",
    "momentum_backbone.",
    "backbone_momentum.",
    "teacher_backbone.",
    "key_encoder.",
    "teacher.",
    "target_net.",
    "target_encoder.",
    "ema.",
    "ema_model.",
    "model_ema.",
)
"""Parts that hold a slowly moving copy of the backbone; the backbone itself always wins."""

BACKBONES = (
    "backbone",
    "image_encoder",
    "vision_backbone",
    "vision_encoder",
    "visual_encoder",
    "visual",
)
"""What models call the part that sees the image; an earlier name wins over a later one."""

OFFSETS = ("conv_offset",)
"""Convolutions that say where a deformable convolution looks: no weights of the network itself."""

STEMS = ("stem.", "conv1.")
"""Where a stem is several convolutions, its name: OpenMMLab's deep stem, timm's."""

_AT_THE_START, _AT_THE_END = ("stem", "patch_embed"), ("classifier", "fc", "head")
# Of a network's parts that the alphabet would put elsewhere.

_KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "linear": (nn.Linear,),
}


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own model inside DistributedDataParallel, DataParallel or torch.compile."""
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
            continue
        compiled_from = getattr(model, "_orig_mod", None)
        if not isinstance(compiled_from, nn.Module):
            return model
        model = compiled_from


def strip_wrappers(name: str) -> str:
    """``name`` without the prefixes of wrappers: ``module.conv1.weight`` -> ``conv1.weight``."""
    stripped = True
    while stripped:
        stripped = False
        for prefix in WRAPPERS:
            if name.startswith(prefix):
                name, stripped = name[len(prefix) :], True
    return name


def is_twin(name: str) -> bool:
    """Whether ``name``, of a tensor or a prefix, lies in a part that holds a copy (TWINS)."""
    return any("." + twin in "." + name for twin in TWINS)


def backbone_prefix(model: nn.Module) -> str:
    """The prefix under which ``model`` holds its backbone, ``""`` if it is one itself.

    A module called ``backbone`` at the shallowest depth is taken (OpenMMLab's convention; a
    semi-supervised detector has it at ``student.backbone``, for example). Models of images and
    text, and retrievers, have none: the next of :data:`BACKBONES` is taken in its place, or the
    first part of it where it is a sequence of larger parts (a backbone and a neck).
    """
    paths = [name for name, _ in model.named_modules()]
    for part in BACKBONES:
        found = [name for name in paths if name == part or name.endswith("." + part)]
        if not found:
            continue
        # A student comes before its momentum teacher, which is a twin and follows its mask.
        place = min(found, key=lambda name: (is_twin(name + "."), name.count(".")))
        module = model.get_submodule(place)
        first = module._modules.get("0") if isinstance(module, nn.Sequential) else None
        has_parts = part != "backbone" and first is not None and any(True for _ in first.children())
        return f"{place}.0." if has_parts else f"{place}."
    return ""


def common_prefix(names: Sequence[str]) -> str:
    """What is to be taken off full names so that they are relative to the backbone.

    That is wrappers' prefixes and everything up to a module of :data:`BACKBONES`, as
    :func:`backbone_prefix` has it, if all ``names`` begin so.
    """
    first = names[0] if names else ""
    part = next((part for part in BACKBONES if f".{part}." in f".{first}"), None)
    ends = [0]
    if part is not None:
        # The innermost that holds all: mmseg's ICNet has a backbone inside, beside other weights.
        ends = [found.end() for found in re.finditer(rf"(?<![^.]){part}\.", first)][::-1] + ends
    for end in ends:
        end = len(first) - len(strip_wrappers(first[end:]))
        longer = first[: end + 2]
        is_sequence = part not in (None, "backbone") and longer.endswith(".0.")
        for prefix in (longer, first[:end]) if is_sequence else (first[:end],):
            if prefix and all(name.startswith(prefix) for name in names):
                return prefix
    return ""


def prunable(
    model: nn.Module,
    stem: bool = False,
    kinds: Sequence[str] = ("conv",),
    backbone: str | None = None,
) -> tuple[str, ...]:
    """Names of the weights that may be pruned, as ``model`` has them, in order of registration.

    Every convolution weight of the backbone but the stem; never heads, norms or biases (paper A,
    section 3; papers B and C prune the stem too: ``stem=True``).

    Args:
        model: An OpenMMLab model (its ``backbone`` is searched) or a bare backbone. Wrapped in
            DistributedDataParallel or torch.compile it gives the names of the model inside.
        stem: Whether the first convolution is in scope. A deep stem (several convolutions in a
            module called ``stem`` or ``conv1``) counts as one whole.
        kinds: Which layers carry prunable weights: ``"conv"``, ``"linear"`` or both. In a bare
            classifier the last linear layer is its head and is never in scope.
        backbone: The module of ``model`` to take for its backbone, as ``"text_encoder"``; by
            default the one that :func:`backbone_prefix` finds.

    Returns:
        Parameter names, each ending in ``.weight``. A weight shared by several modules is named
        once; copies that follow the backbone (:data:`TWINS`) are not named.

    Raises:
        ScopeError: If a kind or ``backbone`` is unknown, or nothing is in scope.
    """
    unknown = set(kinds) - _KINDS.keys()
    if unknown:
        raise ScopeError(
            f"prunable: unknown kind {sorted(unknown)[0]!r}; use {' or '.join(map(repr, _KINDS))}"
        )
    model = unwrap(model)
    if backbone is None:
        prefix = backbone_prefix(model)
    elif backbone in dict(model.named_modules()):
        prefix = f"{backbone}." if backbone else ""
    else:
        parts = join_some((name for name, _ in model.named_children()), limit=8)
        raise ScopeError(
            f"prunable: {type(model).__name__} has no module {backbone!r} to take for its "
            f"backbone; its parts are {parts}"
        )
    layers = tuple(layer for kind in kinds for layer in _KINDS[kind])
    parameters = dict(model.named_parameters())  # names a shared weight once
    candidates: list[tuple[str, nn.Module]] = []
    for module_name, module in model.named_modules():
        name = f"{module_name}.weight" if module_name else "weight"
        if not f"{module_name}.".startswith(prefix) or name not in parameters or _is_offset(name):
            continue
        if isinstance(module, layers) or ("conv" in kinds and is_deformable(module)):
            candidates.append((name, module))
    # A momentum encoder is no second backbone; but a model that is called "teacher" may be pruned.
    candidates = [(n, m) for n, m in candidates if not is_twin(n[len(prefix) :])] or candidates
    if not prefix and "linear" in kinds:
        linears = [name for name, module in candidates if isinstance(module, nn.Linear)]
        candidates = [(n, m) for n, m in candidates if not linears or n != linears[-1]]
    names = [name for name, _ in candidates]
    if not stem:
        names = [name for name in names if name not in _stem(candidates, prefix)]
    if not names:
        raise ScopeError(
            f"prunable: {type(model).__name__} has no {'/'.join(kinds)} weight "
            f"{'in its backbone ' if prefix else ''}to prune; name other kinds (conv, linear)"
        )
    return tuple(names)


def prunable_in(weights: Mapping[str, torch.Tensor], stem: bool = False) -> tuple[str, ...]:
    """As :func:`prunable`, for a backbone of which only the weights are at hand.

    Args:
        weights: A backbone's tensors in order of registration, canonical names.
        stem: Whether the first convolution is in scope.

    Returns:
        Names of its convolution weights: those with four dimensions.

    Raises:
        ScopeError: If there is none.
    """
    convolutions = [n for n, tensor in weights.items() if tensor.dim() == 4 and not _is_offset(n)]
    # Files that keep tensors in order of name do not have the stem first.
    named = [name for name in convolutions if name.startswith(STEMS)]
    left_out = [] if stem else named or convolutions[:1]
    names = tuple(name for name in convolutions if name not in left_out)
    if not names:
        raise ScopeError("the weights hold no convolution to prune")
    return names


def network_order(names: Iterable[str]) -> list[str]:
    """Names of weights from input to output, as far as names tell: ``layer3.2`` before ``.10``.

    Stems (``stem``, ``patch_embed``) come first and what is called a classifier or head last, as in
    AlexNet and VGG, whose ``classifier`` follows their ``features``.
    """

    def place(name: str) -> list[tuple[int, str]]:
        first = name.partition(".")[0]
        rank = (first in _AT_THE_END) - (first in _AT_THE_START)
        parts = re.split(r"(\d+)", name)
        return [(rank, ""), *((int(p), "") if p.isdigit() else (-1, p) for p in parts)]

    return sorted(names, key=place)


def _is_offset(name: str) -> bool:
    """Whether ``name`` is the weight of a predictor of offsets."""
    return name.rpartition(".")[0].rpartition(".")[2] in OFFSETS


def is_deformable(module: nn.Module) -> bool:
    """Whether ``module`` is torchvision's or mmcv's deformable convolution.

    Neither is a subclass of ``nn.Conv2d``, though its weight is used as one's.
    """
    return any("DeformConv2d" in kind.__name__ for kind in type(module).__mro__)


def _stem(candidates: Sequence[tuple[str, nn.Module]], prefix: str) -> set[str]:
    deep = {name for name, _ in candidates if name[len(prefix) :].startswith(STEMS)}
    first = next((name for name, m in candidates if not isinstance(m, nn.Linear)), None)
    return deep or ({first} if first is not None else set())


def find_prefixes(
    wanted: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]
) -> list[str]:
    """Every prefix under which *all* of ``wanted`` is present with the same shapes.

    Args:
        wanted: Tensors by canonical name, for example a ticket's masks.
        present: Tensors of a model by full name, for example ``dict(model.named_parameters())``.

    Returns:
        Prefixes, shallowest first and then in the order of ``present``, as :func:`backbone_prefix`
        prefers them, but the parts that are known to be twins (momentum encoders, averaged models)
        last.
    """
    if not wanted:
        return [""]
    names = iter(wanted)
    anchor = next(names)
    prefixes = [name[: -len(anchor)] for name in present if _ends(name, anchor)]
    fits = [
        prefix
        for prefix in prefixes
        if all(
            prefix + name in present and present[prefix + name].shape == tensor.shape
            for name, tensor in wanted.items()
        )
    ]
    return sorted(fits, key=lambda prefix: (is_twin(prefix), prefix.count(".")))


def locate(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> tuple[str, list[str]]:
    """Where in ``model`` (wrappers aside) the masked weights are, and where copies of them are.

    Returns:
        The prefix of the weights themselves, and the prefixes of twins: full copies that take no
        gradient (a momentum encoder, a teacher).

    Raises:
        MaskError: If the masks do not fit the model.
    """
    model = unwrap(model)
    named = dict(model.named_parameters())
    prefixes = find_prefixes(masks, named)
    if not prefixes and any("FullyShardedDataParallel" in k.__name__ for k in type(model).__mro__):
        raise MaskError(
            f"the masks do not fit {type(model).__name__}, which flattens weights; "
            "shard the model with torch's fully_shard"
        )
    if not prefixes:
        raise MaskError(
            f"the masks do not fit {type(model).__name__}: {describe_misfit(masks, named)}; "
            "use a ticket of this architecture"
        )
    twins = [p for p in prefixes if not any(named[p + name].requires_grad for name in masks)]
    if len(twins) == len(prefixes):  # everything is frozen, so names have to tell
        twins = [p for p in prefixes[1:] if is_twin(p)]
    sources = [p for p in prefixes if p not in twins]
    preferred = backbone_prefix(model)
    return (preferred if preferred in sources else sources[0]), twins


def dotted_ends(name: str) -> Iterator[str]:
    """``name`` and what is left of it when parts are taken off its front, shortest first.

    Of a name with more parts than any network's only the last ones are looked at.
    """
    parts = name.rsplit(".", 64)
    for count in range(1, len(parts)):
        yield ".".join(parts[-count:])
    yield name


def _ends(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)


def describe_misfit(
    wanted: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor], limit: int = 3
) -> str:
    """Says, for an error message, which of ``wanted`` fit nowhere in ``present``."""
    best_prefix, best_count = "", -1
    anchors = {name.removesuffix(e) for name in present for e in dotted_ends(name) if e in wanted}
    for prefix in sorted(anchors or {""}, key=len):
        count = sum(prefix + name in present for name in wanted)
        if count > best_count:
            best_prefix, best_count = prefix, count
    there = {n: present[best_prefix + n] for n in wanted if best_prefix + n in present}
    return join_some(misfits(wanted, there), limit)


def misfits(wanted: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> list[str]:
    """Which of ``wanted`` are missing in ``present``, or shaped differently there, and how.

    Norms' counters of batches may be missing: old files have none, and nothing depends on them.
    """
    problems = []
    for name, tensor in wanted.items():
        other = present.get(name)
        if other is None and not name.endswith(_COUNTER):
            problems.append(f"{name} is missing")
        elif other is not None and other.shape != tensor.shape:
            problems.append(f"{name} is {tuple(other.shape)}, not {tuple(tensor.shape)}")
    return problems


def strays(wanted: Iterable[str], present: Iterable[str]) -> list[str]:
    """Which of ``present`` are none of ``wanted``, as in :func:`misfits`."""
    known = set(wanted)
    return [
        f"{name} has no place"
        for name in present
        if name not in known and not name.endswith(_COUNTER)
    ]


def join_some(items: Iterable[str], limit: int = 3) -> str:
    """The first ``limit`` items as one line, with the number of those left out.

    Names come from files of unknown origin, so they are cut and rid of control characters, which
    a terminal would obey.
    """
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(printable(item) for item in items[:limit]) + more


def printable(text: str, limit: int = 100) -> str:
    """``text`` on one line, at most ``limit`` characters, without control characters."""
    shown = text if len(text) <= limit else f"{text[:limit]}..."
    return "".join(character if character.isprintable() else "?" for character in shown)
