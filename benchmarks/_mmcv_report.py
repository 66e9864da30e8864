"""The page of benchmarks/mmcv_ops.py, and the differences that it explains."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Any, NamedTuple

from _mmcv_compare import NO_KERNEL


class Known(NamedTuple):
    """A difference that is meant to be, or that nothing can be done about."""

    operator: str
    inputs: str
    dtype: str
    reason: str


KNOWN = (
    Known(
        "roi_align*",
        "maps not contiguous",
        "*",
        "mmcv's kernel reads the maps as if they were contiguous, and so other pixels. lth reads "
        "the right ones.",
    ),
    Known(
        "modulated_deform_conv2d",
        "not contiguous",
        "*",
        "mmcv's kernel reads its arguments as if they were contiguous. lth reads the right "
        "numbers.",
    ),
    Known(
        "roi_align, max",
        "no area",
        "*",
        "A bin without a sample is -10000 in mmcv's CPU kernel and the smallest float32 in its "
        "CUDA kernel; it is 0 in lth, as it is in mode avg in all of them.",
    ),
    Known(
        "roi_pool",
        "negative size",
        "*",
        "mmcv's kernel does not say of a region of negative size that it took no pixel, so that "
        "its gradient goes to the map's first one. In lth it goes nowhere.",
    ),
    Known(
        "sigmoid_focal_loss",
        "*",
        "float64",
        "mmcv takes the exponential in single precision also for float64, lth in double.",
    ),
    Known(
        "ms_deform_attn",
        "whole pixels",
        "*",
        "The slope to the left of a pixel's centre is another than to its right, and where the "
        "size of a level is no power of two, rounding puts a place that is meant to be on the "
        "centre on either side; lth rounds at another step than mmcv. Both slopes are right, and "
        "outputs and all other gradients agree. With exact places the slopes do, too.",
    ),
)

INTRODUCTION = """\
# mmcv's operators: lth beside a compiled mmcv

`mmcv-lite` has no compiled operators; `lth_core.openmmlab.compat.mmcv_ext` supplies them from
torchvision and plain PyTorch. This page compares them with mmcv 2.1.0 as compiled from its sources.
It is written by the commands below, and `mmcv-ops.json` beside it holds all rows.

## How to get a compiled mmcv

In a virtual environment of its own, with a C++ compiler, ninja and `setuptools<81`; about 20
minutes of one core:

<!-- not run: compiles for twenty minutes, and downloads -->
```bash
pip install torch torchvision mmengine "setuptools<81" wheel
pip download --no-deps --no-binary :all: --no-build-isolation mmcv==2.1.0
tar xf mmcv-2.1.0.tar.gz && cd mmcv-2.1.0
sed -i s/std=c++17/std=c++20/ setup.py    # the headers of recent PyTorch need it
MMCV_WITH_OPS=1 FORCE_CUDA=0 pip install --no-build-isolation .
pip install -e packages/lth-core
```

Where a compiled mmcv is installed, lth uses it as it is.
"""

PARITY = """\
Each case draws an operator's arguments and options anew and is run by both, through `mmcv.ops` as
mmdet and mmseg call it; where there is a backward pass, all gradients are compared as well. Indices
have to be the same ones in the same order; among equal scores, both keep the order of PyTorch's
unstable sort. Floating-point results count as equal but for rounding if they differ by at most 2e-5
(float32) or 1e-11 (float64) of the case's largest number; "share" is that, at its largest. Where
only float32 is listed, mmcv's kernels take no other. Half precision is not compared: mmcv computes
even places in it, lth computes in float32 and rounds the result.
"""

STAND_IN = """\
mmcv has no CPU kernel for the operators marked with a star. There the reference are mmcv's own CUDA
kernels and their launchers, compiled for the CPU and run thread by thread with their barriers
(`benchmarks/_cuda_on_cpu.hpp`, option `--cuda-on-cpu`); CARAFE's faster form, made of warp
shuffles, is compared with mmcv's plain one.
"""


SPEED = """\
Medians of calls that take turns in one process; the ratio is the median of each round's own, below
1 where lth is faster. Sizes are those of mmdet's usual configurations: an image of 800 x 1216
pixels, RoIAlign on FPN's finest level, deformable convolutions of ResNet-50's stages.
"""


def explanation(row: dict[str, Any]) -> str | None:
    """Why a row's difference is known, if it is."""
    for known in KNOWN:
        if (
            fnmatch(row["operator"], known.operator)
            and fnmatch(row["inputs"], known.inputs)
            and fnmatch(row["dtype"], known.dtype)
        ):
            return known.reason
    return None


def unexpected(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The rows that differ without an explanation, in words."""
    return [
        f"{row['operator']}, {row['inputs']}, {row['dtype']}, {row['device']}: {row['verdict']} "
        f"({', '.join(row['outputs']) or row['message']})"
        for row in rows
        if row["differing"] and explanation(row) is None
    ]


def markdown(record: dict[str, Any]) -> str:
    """The page.

    Args:
        record: What the benchmark found, either part of it or both.
    """
    text = [INTRODUCTION]
    if "parity" in record:
        rows = record["parity"]["rows"]
        text += ["## Parity\n", _environment(record["parity"]["environment"]), PARITY]
        if any(_starred(row) for row in rows):
            text.append(STAND_IN)
        if not any(row["device"] == "cuda" for row in rows):
            text.append("Not run on a GPU: there was none with a CUDA build of mmcv.\n")
        text += [_parity_table(rows), _deviations(rows)]
    if "speed" in record:
        text += ["## Speed\n", _environment(record["speed"]["environment"]), SPEED]
        rows = record["speed"]["rows"]
        if not any(row["device"] == "cuda" for row in rows):
            text.append("Not run on a GPU: there was none with a CUDA build of mmcv.\n")
        text.append(_speed_table(rows))
    return "\n".join(text)


def _environment(found: dict[str, Any]) -> str:
    cpu = f"{found['cpu']}, {found['threads']} of {found['cores']} cores"
    load = f"load {found['load before']:.1f} before"
    if "load after" in found:
        load += f", {found['load after']:.1f} after"
    versions = ", ".join(f"{name} {found[name]}" for name in ("mmcv", "torch", "torchvision"))
    return (
        f"`{found['command']}`\n\n{found['date']}; {cpu}; GPU: {found['gpu'] or 'none'}; "
        f"{versions}, mmcv's compiler {found['compiler of mmcv']}, its CUDA: "
        f"{found['CUDA of mmcv']}; {load}.\n"
    )


def _starred(row: dict[str, Any]) -> bool:
    return "CUDA" in row["reference"]


def _parity_table(rows: list[dict[str, Any]]) -> str:
    """One line for all kinds of input of an operator that come out alike."""
    merged: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kind = "differs" if row["differing"] else row["verdict"]
        key = (row["operator"], row["device"], row["dtype"], kind)
        if row["differing"]:
            key += (row["inputs"],)
        merged.setdefault(key, []).append(row)
    lines = [
        "| operator | inputs | type | cases | largest difference | share | verdict |",
        "|---|---|---|--:|--:|--:|---|",
    ]
    for (operator, device, dtype, *_), group in merged.items():
        compared = sum(row["cases"] - row["refused"] for row in group)
        absolute = max(row["absolute"] for row in group)
        relative = max(row["relative"] for row in group)
        verdict = group[0]["verdict"]
        if group[0]["differing"]:
            verdict += f": {', '.join(group[0]['outputs'])}" if group[0]["outputs"] else ""
            if group[0]["by_order_alone"]:
                verdict += f" ({group[0]['by_order_alone']} by order alone)"
        star = "*" if _starred(group[0]) else ""
        where = "" if device == "cpu" else f", {device}"
        lines.append(
            f"| {operator}{star}{where} | {', '.join(row['inputs'] for row in group)} | {dtype} | "
            f"{compared} | {absolute:.1e} | {relative:.1e} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def _deviations(rows: list[dict[str, Any]]) -> str:
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row["differing"]:
            reason = explanation(row) or "Not explained."
        elif row["refused"] and NO_KERNEL not in row["message"]:
            share = "all" if row["refused"] == row["cases"] else "some"
            reason = f"the compiled one refuses {share} of them: `{row['message']}`"
        else:
            continue
        label = f"{row['operator']}, {row['inputs']}"
        reasons.setdefault(reason, {}).setdefault(label, []).append(row["dtype"])
    lines = [
        "- "
        + "; ".join(f"{label} ({', '.join(dtypes)})" for label, dtypes in labels.items())
        + f": {reason}"
        for reason, labels in reasons.items()
    ]
    return "\n".join(["### What differs, and why\n", *(lines or ["Nothing."])]) + "\n"


def _speed_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| operator | size | device | compiled, ms | lth, ms | lth / compiled |",
        "|---|---|---|--:|--:|--:|",
    ]
    for row in rows:
        times = " | ".join(_number(row[key]) for key in ("compiled ms", "lth ms"))
        numbers = f"{times} | {row['lth / compiled']:.2f}"
        lines.append(f"| {row['operator']} | {row['size']} | {row['device']} | {numbers} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
