"""Why a config does not work, told from the error that it ends in."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from lth_core.errors import LTHError, ScopeError

WORKS = "works"
PIECE = "piece"
PACKAGE = "package"
NO_WEIGHTS = "no weights"
DOWNLOAD = "download"
UPSTREAM = "upstream"
MEMORY = "memory"
TIME = "time"
CRASH = "crash"
OURS = "ours"

GROUPS = {
    WORKS: "works",
    PIECE: "is no whole config: it has no model, others inherit from it",
    PACKAGE: "wants an optional package that is not installed",
    NO_WEIGHTS: "has no convolution or linear weights in a backbone",
    DOWNLOAD: "builds only with files from the internet",
    UPSTREAM: "does not build with upstream's own tools either",
    MEMORY: "needs more memory than was allowed",
    TIME: "takes more time than was allowed",
    CRASH: "ended the process",
    OURS: "is lth's to put right",
}


class PieceError(Exception):
    """A config without a model."""


class WrongError(Exception):
    """A ticket was not applied as it should have been."""


class OfflineError(OSError):
    """Something wanted the internet, which is not to be had here."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__("no internet here")


BUGS: tuple[tuple[str, str, str], ...] = (
    (
        r"mmdet::(bytetrack|sort)/",
        r"FileNotFoundError",
        "it inherits from a file that is not where it says",
    ),
    (
        r"mmdet::cascade_rpn/",
        r"CascadeRPNHead.*num_classes",
        "RPN does not tell this head its number of classes",
    ),
    (
        r"mmdet::v3det/",
        r"force_grad_on_level",
        "it asks of FPN what the released one has not",
    ),
    (
        r"mmpretrain::levit/deploy/",
        r"switch_to_deploy\(\) takes 1 positional",
        "LeViT's head does not take the argument that its classifier hands on",
    ),
    (
        r"mmpretrain::blip2/",
        r"unexpected keyword argument 'max_txt_len'",
        "its model does not have an argument that it gives",
    ),
    (
        r"mmpretrain::replknet/",
        r"lazy_import",
        "its base imports mmpretrain, which mmengine takes for a config of the new style",
    ),
    (
        r"mmpretrain::swin_transformer_v2/",
        r"test_pipeline",
        "it uses a pipeline of its base that is not there",
    ),
    (
        r"mmpretrain::resnet/",
        r"BatchCutMix is not in",
        "it names an augmentation of an older release",
    ),
)
"""Upstream's known bugs: expressions for the config and for the error, and what is wrong there."""

_PACKAGES = (
    r"No module named '(\w+)",
    r"(VPD) model, please install",
    r"requires the (\w+) library but it was not found",
    r"pip install [\"'`]?([\w.]+[\w.\-]*(?:\[\w+\])?)",
    r"install (Detectron2) first",
)
_LIBRARIES = r"/(mmdet|mmseg|mmpretrain)/(?!\.mim)"
_CALLED = {"vpd": "ldm", "mmpretrain[multimodal]": "transformers", "skimage": "scikit-image"}
_OUT_OF_MEMORY = r"not enough memory|can't allocate memory|Cannot allocate memory"
_OFFLINE = r"no internet here|offline mode|couldn't connect to 'https|huggingface\.co"


def explain(config: str, problem: BaseException) -> tuple[str, str, str]:
    """The group of a failure, its reason and the error in one line.

    Args:
        config: ``library::path``.
        problem: What was raised.
    """
    chain = list(_chain(problem))
    said = " | ".join(_line(each) for each in chain)
    note = f"{_line(chain[-1])} ({_place(chain[-1])})"
    if isinstance(problem, PieceError):
        return PIECE, "", ""
    if isinstance(problem, ScopeError):
        return NO_WEIGHTS, "", _line(problem)
    for where, what, reason in BUGS:
        if re.search(where, config) and re.search(what, said):
            return UPSTREAM, reason, note
    if any(isinstance(each, OfflineError) for each in chain) or re.search(_OFFLINE, said):
        return DOWNLOAD, "", note
    for pattern in _PACKAGES:
        found = re.search(pattern, said)
        if found:
            name = found[1].lower().rstrip(".")
            return PACKAGE, _CALLED.get(name, name), note
    if isinstance(problem, MemoryError) or re.search(_OUT_OF_MEMORY, said):
        return MEMORY, "", _line(problem)
    return OURS, _line(problem if isinstance(problem, LTHError) else chain[-1]), note


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """A failure and what led to it, the first cause last."""
    current: BaseException | None = problem
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _line(problem: BaseException) -> str:
    text = re.sub(r"[^\s'\"]*site-packages/", "", " ".join(str(problem).split()))
    return f"{type(problem).__name__}: {text}"[:300]


def _place(problem: BaseException) -> str:
    """Where it was raised: the last line of a library's own, else the last of all."""
    frames = traceback.extract_tb(problem.__traceback__)
    if not frames:
        return "?"
    own = [frame for frame in frames if re.search(_LIBRARIES, frame.filename)]
    last = (own or frames)[-1]
    file = last.filename.rpartition("site-packages/")[2]
    return f"{file if not file.startswith('/') else Path(file).name}:{last.lineno}"
