"""Runs the same random calls of mmcv's operators on two extensions and compares what they give."""

from __future__ import annotations

import contextlib
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import torch
from _mmcv_cases import OPERATORS, Draw, Operator, Results, Run
from torch import Tensor

# Largest difference that rounding explains, as a share of the case's largest number.
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-11}

# What mmcv's dispatcher says of an operator that has no kernel for the tensors' device.
NO_KERNEL = "implementation for device"

# Names of the extension that are not operators.
NOT_OPERATORS = {"get_compiler_version", "get_compiling_cuda_version"}


class Recorder:
    """An extension that remembers which of its operators were called.

    Args:
        extension: The extension.
        instead: Functions to take in the place of some of its operators, by their names.
        others: What to call these in the table.
    """

    def __init__(
        self, extension: Any, instead: Mapping[str, Any] | None = None, others: str = ""
    ) -> None:
        self._extension, self._instead, self._others = extension, instead or {}, others
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return self._instead.get(name) or getattr(self._extension, name)

    def origins(self) -> str:
        """Where the operators called so far come from."""
        found = {self._others if name in self._instead else "compiled" for name in self.called}
        return ", ".join(sorted(found))


@contextlib.contextmanager
def answered_by(extension: Any) -> Iterator[None]:
    """Lets all of ``mmcv.ops`` call another extension for a while."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("mmcv.ops.") and hasattr(module, "ext_module")
    ]
    before = [module.ext_module for module in modules]
    try:
        for module in modules:
            module.ext_module = extension
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.ext_module = own


@dataclass(frozen=True)
class Difference:
    """How far one case's results are apart."""

    agrees: bool
    identical: bool
    absolute: float = 0.0
    relative: float = 0.0
    order_alone: bool = False
    outputs: tuple[str, ...] = ()


def difference(ours: Results, reference: Results) -> Difference:
    """Compares the results of a case, whole numbers exactly.

    Args:
        ours: Tensors by name.
        reference: Tensors by the same names.

    Returns:
        ``relative`` is a share of the case's largest number, ``order_alone`` says that chosen items
        are the same ones in another order, ``outputs`` names what differs.
    """
    identical = True
    absolute = relative = 0.0
    order_alone = False
    differing = []
    # Of the case and not of each output: sums that cancel leave the rounding of their terms.
    scale = max([1e-30, *(_largest(want) for want in reference.values())])
    for name, want in reference.items():
        got = ours[name]
        if got.dtype == want.dtype and _same(got, want):
            continue
        identical = agrees = False
        if got.shape != want.shape or got.dtype != want.dtype:
            pass
        elif not want.is_floating_point():
            order_alone = torch.equal(got.sort().values, want.sort().values)
        elif torch.equal(got.isfinite(), want.isfinite()):
            gap = _largest(got - want)
            absolute, relative = max(absolute, gap), max(relative, gap / scale)
            agrees = gap / scale <= ROUNDING[want.dtype]
        if not agrees:
            differing.append(name)
    return Difference(not differing, identical, absolute, relative, order_alone, tuple(differing))


def _largest(tensor: Tensor) -> float:
    """The largest finite number, disregarding signs; 0 if there is none or they are whole."""
    finite = tensor[tensor.isfinite()] if tensor.is_floating_point() else tensor[:0]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(7e7), other.nan_to_num(7e7))


@dataclass
class Row:
    """All cases of one operator with one kind of input."""

    operator: str
    inputs: str
    dtype: str
    device: str
    reference: str
    cases: int = 0
    differing: int = 0
    by_order_alone: int = 0
    identical: int = 0
    refused: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    message: str = ""
    outputs: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """In words."""
        compared = self.cases - self.refused
        if not compared:
            missing = NO_KERNEL in self.message
            return "no kernel to compare with" if missing else "the compiled one refuses"
        if self.differing:
            return f"differs in {self.differing} of {compared}"
        return "identical" if self.identical == compared else "equal but for rounding"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "verdict": self.verdict}


def outcome(run: Run, extension: Any) -> Results | str:
    """What a case gives on an extension: results, or the first line of its error."""
    try:
        with answered_by(extension):
            return run()
    except (RuntimeError, ValueError, NotImplementedError, AssertionError, TypeError) as error:
        message = str(error).strip().splitlines()[0]
        # Where mmcv was built is of no interest.
        message = re.sub(r'[^ "]*/(?=[^/]*[.]cpp)', "", message)
        return f"{type(error).__name__}: {message}"


def compare(
    ours: Any,
    reference: Recorder,
    cases: int,
    device: str = "cpu",
    operators: Iterable[str] = OPERATORS,
    seed: int = 0,
) -> Iterator[Row]:
    """Compares two extensions, one row per operator, kind of input and number type.

    Args:
        ours: The extension to judge.
        reference: The extension to judge it by.
        cases: Random cases per row.
        device: Where the tensors are.
        operators: Names of :data:`OPERATORS`.
        seed: Draws other cases.
    """
    for name in operators:
        operator = OPERATORS[name]
        for dtype in operator.dtypes:
            for kind in operator.kinds:
                yield _row(name, operator, kind, dtype, ours, reference, cases, device, seed)


def _row(
    name: str,
    operator: Operator,
    kind: str,
    dtype: torch.dtype,
    ours: Any,
    reference: Recorder,
    cases: int,
    device: str,
    seed: int,
) -> Row:
    reference.called.clear()
    row = Row(name, kind, str(dtype).removeprefix("torch."), device, "")
    for index in range(cases):
        # A checksum, since Python's own hash of a string changes from run to run.
        start = zlib.crc32(f"{name}/{kind}/{dtype}/{seed}/{index}".encode())
        run = operator.case(Draw(start, dtype, device), kind)
        want, got = outcome(run, reference), outcome(run, ours)
        row.cases += 1
        if isinstance(want, str):
            row.refused += 1
            row.message = row.message or want
        elif isinstance(got, str):
            row.differing += 1
            row.message = row.message or f"lth: {got}"
        else:
            found = difference(got, want)
            row.differing += not found.agrees
            row.identical += found.identical
            row.by_order_alone += found.order_alone
            row.outputs = sorted({*row.outputs, *found.outputs})
            row.absolute = max(row.absolute, found.absolute)
            row.relative = max(row.relative, found.relative)
    row.reference = reference.origins()
    return row


def not_exercised(ours: ModuleType, called: set[str]) -> set[str]:
    """Operators that an extension supplies and that no case has called."""
    supplied = {name for name in vars(ours) if not name.startswith("_")}
    return supplied - called - NOT_OPERATORS
