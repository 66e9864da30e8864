"""Models as ONNX files, and whether ONNX Runtime computes what torch does.

Needs the extra ``lth-core[onnx]``.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from lth_core.compaction.compacting import TOLERANCE, largest_error, tensors
from lth_core.compaction.tracing import Forward, Whole
from lth_core.errors import ConfigError, ExactnessError
from lth_core.files import write_atomic
from lth_core.scope import unwrap


def export_onnx(
    model: nn.Module,
    inputs: Tensor,
    path: str | Path,
    forward: Forward | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Writes a model as one ONNX file, for any number of pictures of one size, and checks it.

    Args:
        model: Dense, sparse or compacted; not changed.
        inputs: A batch of pictures, ``(pictures, channels, height, width)``, best random.
        path: Replaced atomically, once outputs agree.
        forward: What to call with the model and the inputs in place of the model itself.
        tolerance: The largest difference of an output, as a share of its largest number.

    Returns:
        The largest difference found, with as many pictures as ``inputs`` has and with one more.

    Raises:
        ConfigError: If torch cannot export the pass.
        ExactnessError: If ONNX Runtime's outputs differ by more than ``tolerance``.
    """
    whole = Whole(copy.deepcopy(unwrap(model)).eval().cpu(), forward)
    inputs = inputs.detach().cpu()
    inputs = inputs if len(inputs) > 1 else inputs.repeat(2, 1, 1, 1)  # one is taken for fixed
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "model.onnx"
        _export(whole, inputs, part, type(model).__name__)
        try:
            data = onnx.load(part).SerializeToString()  # with the weights that were beside it
        except ValueError as problem:
            raise ConfigError(f"{type(model).__name__} is too large for one ONNX file") from problem
    worst = 0.0
    session = open_session(data)
    for pictures in (inputs, torch.cat([inputs, inputs[:1].flip(-1)])):
        with torch.no_grad():
            wanted = list(tensors(whole(pictures)))
        got = [torch.from_numpy(found) for found in run_session(session, pictures.numpy())]
        worst = max(worst, largest_error(got, wanted))
    if not worst <= tolerance:
        raise ExactnessError(
            f"ONNX Runtime's outputs of {type(model).__name__} differ by {worst:.2g} of the "
            f"largest, more than {tolerance:.2g}; nothing was written"
        )
    write_atomic(path, data)
    return worst


def open_session(model: bytes | str, threads: int = 0) -> onnxruntime.InferenceSession:
    """An ONNX model, ready to be run on the CPU.

    Args:
        model: The file's content, or its name.
        threads: How many to use; 0 for ONNX Runtime's own choice.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, pictures: np.ndarray) -> list[Any]:
    """Outputs of one batch, in order."""
    return list(session.run(None, {session.get_inputs()[0].name: pictures}))


def _export(whole: nn.Module, inputs: Tensor, path: Path, what: str) -> None:
    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loud]
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                whole,
                (inputs,),
                str(path),
                dynamo=True,
                verbose=False,
                dynamic_shapes={"pictures": {0: torch.export.Dim("batch")}},
            )
    except Exception as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ConfigError(f"{what} cannot be exported to ONNX: {reason}") from problem
    finally:
        for logger, level in zip(loud, levels, strict=True):
            logger.setLevel(level)
