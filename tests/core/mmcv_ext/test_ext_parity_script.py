"""benchmarks/mmcv_ops.py where there is no compiled mmcv: its refusal, and how it compares."""

import json
import sys
from pathlib import Path

import lth_core.openmmlab.compat.mmcv_ext as mmcv_ext
import pytest
import torch

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _mmcv_compare as comparing  # noqa: E402 (found by the line above, as are the next four)
import _mmcv_cuda_on_cpu as cuda_on_cpu  # noqa: E402
import _mmcv_report as reports  # noqa: E402
import _mmcv_speed as timing  # noqa: E402
import mmcv_ops  # noqa: E402
from test_ext_nms import greedy  # noqa: E402


class Compiled:
    """Stands in for a compiled extension: plain Python for ``nms``, ours for the rest."""

    def __init__(self, wrong=None, error=0.0):
        self.ours, self.wrong, self.error = mmcv_ext.stand_in(), wrong, error

    def nms(self, boxes, scores, iou_threshold, offset):
        threshold = torch.tensor(iou_threshold).item()
        order = scores.sort(descending=True).indices.tolist()
        kept = greedy(boxes.double().tolist(), scores.tolist(), threshold, offset, order)
        if self.wrong == "order":
            kept.reverse()
        elif self.wrong == "set":
            kept = kept[:-1]
        return torch.tensor(kept, dtype=torch.long)

    def __getattr__(self, name):
        return getattr(self.ours, name)

    def roi_pool_forward(self, *args, **kwargs):
        raise RuntimeError(self.wrong)

    def bbox_overlaps(self, one, two, ious, **options):
        self.ours.bbox_overlaps(one, two, ious, **options)
        ious *= 1 + self.error


def rows(operator, compiled, cases=4):
    reference = comparing.Recorder(compiled)
    found = comparing.compare(mmcv_ext.stand_in(), reference, cases, operators=[operator])
    return {(row.inputs, row.dtype): row for row in found}


def test_without_a_compiled_mmcv_it_says_what_is_missing(capsys):
    assert mmcv_ops.main([]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "no compiled mmcv" in error
    assert "pip install --no-build-isolation mmcv==2.1.0" in error


def test_nms_of_plain_python_chooses_the_same_boxes():
    for row in rows("nms", Compiled()).values():
        assert row.verdict == "identical"
        assert row.reference == "compiled"


@pytest.mark.parametrize(("wrong", "by_order_alone"), [("order", True), ("set", False)])
def test_other_boxes_and_another_order_are_told_apart(wrong, by_order_alone):
    row = rows("nms", Compiled(wrong))["random", "float32"]
    assert row.verdict == "differs in 4 of 4"
    assert "kept" in row.outputs
    assert bool(row.by_order_alone) is by_order_alone
    assert len(reports.unexpected([row.record()])) == 1


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(0.0, "identical"), (1e-6, "equal but for rounding"), (1e-3, "differs")],
)
def test_rounding_is_told_from_differences(error, verdict):
    row = rows("bbox_overlaps", Compiled(error=error), cases=8)["random", "float32"]
    assert row.verdict.startswith(verdict)
    assert row.relative == pytest.approx(error, rel=0.2)


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ("roi_pool_forward_impl: implementation for device cpu:0 not found.\n", "no kernel"),
        ('failed at "/home/x/mmcv/roi_pool.cpp":1\nmore', "the compiled one refuses"),
    ],
)
def test_an_operator_that_the_compiled_one_does_not_run_is_no_difference(message, verdict):
    row = rows("roi_pool", Compiled(message))["random", "float32"]
    assert row.verdict.startswith(verdict)
    assert row.refused == row.cases == 4
    assert not row.differing
    assert "/home" not in row.message
    assert "more" not in row.message


def test_differences_between_results():
    compare = comparing.difference
    nan = float("nan")
    same = {"x": torch.tensor([1.0, nan])}
    assert compare(same, {"x": torch.tensor([1.0, nan])}).identical
    assert not compare(same, {"x": torch.tensor([nan, 1.0])}).agrees
    assert not compare({"x": torch.ones(2)}, {"x": torch.ones(3)}).agrees
    assert not compare({"x": torch.ones(2)}, {"x": torch.ones(2).double()}).agrees
    # What is left of sums that cancel is judged by the case's other numbers.
    small = {"a": torch.tensor([100.0]), "b": torch.tensor([0.0])}
    assert compare(small, {"a": torch.tensor([100.0]), "b": torch.tensor([1e-3])}).agrees
    found = compare(small, {"a": torch.tensor([100.0]), "b": torch.tensor([1e-1])})
    assert found.outputs == ("b",)
    assert found.relative == pytest.approx(1e-3)


def test_every_operator_is_called_and_cases_repeat_themselves():
    ours = comparing.Recorder(mmcv_ext.stand_in())
    reference = comparing.Recorder(mmcv_ext.stand_in())
    found = list(comparing.compare(ours, reference, cases=1))
    assert {row.verdict for row in found} == {"identical"}
    assert comparing.not_exercised(mmcv_ext.stand_in(), ours.called) == set()
    assert comparing.not_exercised(mmcv_ext.stand_in(), ours.called - {"nms"}) == {"nms"}


def test_the_page_and_its_second_half_are_kept(tmp_path, monkeypatch):
    compiled = Compiled()
    compiled.get_compiler_version = lambda: "GCC 1"
    monkeypatch.setattr(mmcv_ops, "compiled_extension", lambda: compiled)
    monkeypatch.setattr(timing, "STAGES", {"C5": (512, 25, 38)})
    page = tmp_path / "page"
    options = ["--cases", "1", "--output", str(page), "--operators", "nms", "psa_mask"]
    assert mmcv_ops.main(["parity", *options]) == 0
    record = json.loads(page.with_suffix(".json").read_text())
    assert {row["operator"] for row in record["parity"]["rows"]} == {"nms", "psa_mask"}
    small = [dict(row) for row in timing.speed(compiled, mmcv_ext.stand_in(), 3, small=True)]
    assert {row["operator"].partition(",")[0] for row in small} == {
        "nms",
        "batched_nms",
        "roi_align",
        "deform_conv2d",
        "modulated_deform_conv2d",
    }
    monkeypatch.setattr(timing, "speed", lambda *_: iter(small))
    assert mmcv_ops.main(["speed", *options]) == 0
    text = page.with_suffix(".md").read_text()
    assert "| psa_mask | collect, distribute | float32 | 2 |" in text
    assert "lth / compiled" in text
    assert "Not run on a GPU" in text
    assert mmcv_ops.main(["nonsense", *options]) == 2


def test_launches_of_cuda_kernels_become_calls(tmp_path):
    (tmp_path / "kernel.cuh").write_text("#include <cuda.h>\nextern __shared__ int _s[];\n")
    source = '#include "kernel.cuh"\nf<scalar_t, 2>\n  <<<grid(n), 512, 0, stream>>>(\n a, b);'
    text = cuda_on_cpu.translate(source, tmp_path)
    assert "#include" not in text
    assert "auto _s = on_cpu::shared_memory.data();" in text
    assert "on_cpu::launch(grid(n), 512, 0, stream, f<scalar_t, 2>," in " ".join(text.split())
