"""ONNX files of dense, sparse and compacted models, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from lth_core.compaction import compact, exporting
from lth_core.errors import ConfigError, ExactnessError
from torch import Tensor, nn

from .helpers import Classifier


def sparse() -> nn.Module:
    torch.manual_seed(0)
    model = Classifier(8).eval()
    model.layer1[0].conv1.weight.data[[1, 2, 5]] = 0
    return model


def test_the_file_computes_the_same_and_is_smaller(tmp_path: Path) -> None:
    model, pictures = sparse(), torch.randn(2, 3, 12, 10)
    found = compact(model, pictures)
    for name, each in (("sparse", model), ("small", found.model)):
        error = exporting.export_onnx(each, pictures, tmp_path / f"{name}.onnx")
        assert error < 1e-5
        session = exporting.open_session(str(tmp_path / f"{name}.onnx"), threads=1)
        for number in (1, 5):  # as many as one likes
            others = torch.randn(number, 3, 12, 10)
            (got,) = exporting.run_session(session, others.numpy())
            wanted = model(others).detach().numpy()
            np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    files = [onnx.load(tmp_path / f"{name}.onnx") for name in ("sparse", "small")]
    sizes = [sum(np.prod(tensor.dims) for tensor in file.graph.initializer) for file in files]
    assert sizes[0] - sizes[1] >= 3 * 8 * 9 * 2  # two convolutions lost three channels


def test_an_output_that_differs_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ExactnessError, match=r"ONNX Runtime's outputs of Classifier differ"):
        exporting.export_onnx(sparse(), torch.randn(2, 3, 8, 8), tmp_path / "x.onnx", tolerance=-1)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ConfigError, match="Deciding cannot be exported to ONNX: ") as raised:
        exporting.export_onnx(Deciding(), torch.randn(2, 3, 8, 8), tmp_path / "x.onnx")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
