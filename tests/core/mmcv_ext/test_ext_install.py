import importlib.util
import pickle
import subprocess
import sys
import textwrap

import lth_core.openmmlab.compat.mmcv_ext as mmcv_ext
import mmcv
import mmcv.ops
import pytest
import torch
from lth_core.errors import LTHError
from mmcv.utils.ext_loader import check_ops_exist, load_ext


def run_python(code, *args):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_install_is_idempotent_and_reports_the_stand_in():
    before = sys.modules["mmcv._ext"]
    assert mmcv_ext.install() is True
    assert mmcv_ext.install() is True
    assert sys.modules["mmcv._ext"] is before
    assert mmcv._ext is before


def test_the_module_can_be_looked_up():
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None
    assert spec.name == "mmcv._ext"
    assert importlib.import_module("mmcv._ext").__spec__ is spec
    assert check_ops_exist()


def test_a_missing_op_raises_its_name_when_called_and_not_before():
    ext = load_ext("_ext", ["box_iou_rotated", "no_such_op"])
    with pytest.raises(
        mmcv_ext.MissingOpError, match=r"`box_iou_rotated`.*pip install mmcv==2.1.0"
    ):
        mmcv.ops.box_iou_rotated(torch.ones(1, 5), torch.ones(1, 5))
    with pytest.raises(NotImplementedError, match="`no_such_op`"):
        ext.no_such_op(1, key=2)
    with pytest.raises(LTHError):
        ext.no_such_op()


def test_the_error_survives_the_way_out_of_a_worker_process():
    error = pickle.loads(pickle.dumps(mmcv_ext.MissingOpError("knn_forward")))
    assert error.op == "knn_forward"
    assert str(error) == str(mmcv_ext.MissingOpError("knn_forward"))


@pytest.mark.parametrize("name", ["__path__", "__wrapped__", "_private"])
def test_names_that_no_op_has_are_not_pretended(name):
    assert not hasattr(mmcv._ext, name)


def test_environment_reports_can_ask_for_the_compiler():
    assert "torchvision" in mmcv.ops.get_compiler_version()
    assert mmcv.ops.get_compiling_cuda_version() == "not available"


def test_a_compiled_extension_is_left_alone(tmp_path):
    (tmp_path / "_ext.py").write_text("mark = 'compiled'\n")
    out = run_python(
        """
        import sys, mmcv
        mmcv.__path__.append(sys.argv[1])
        import lth_core.openmmlab.compat.mmcv_ext as mmcv_ext
        print(mmcv_ext.install(), "mmcv._ext" in sys.modules)
        import mmcv._ext
        print(mmcv._ext.mark, mmcv_ext.install(), mmcv._ext.mark)
        """,
        str(tmp_path),
    )
    assert out == ["False", "False", "compiled", "False", "compiled"]


def test_mmdet_and_mmseg_import_in_a_fresh_process():
    out = run_python(
        """
        import lth_core.openmmlab.compat.mmcv_ext as mmcv_ext
        print(mmcv_ext.install())
        import mmdet.models, mmseg.models, mmcv.ops
        from mmdet.registry import MODELS
        print("FCOS" in MODELS)
        """
    )
    assert out == ["True", "True"]


def test_ops_leave_no_trace_in_autograd_and_are_not_cast_by_autocast():
    boxes = torch.rand(3, 4, requires_grad=True)
    ious = torch.zeros(3, 3)
    mmcv._ext.bbox_overlaps(boxes, boxes, ious, mode=0, aligned=False, offset=0)
    assert not ious.requires_grad
    features = torch.rand(1, 4, 3, 3)
    masks = torch.rand(1, 9, 6, 6)
    plain = mmcv.ops.carafe(features, masks, 3, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = mmcv.ops.carafe(features, masks, 3, 1, 2)
    assert torch.equal(plain, cast)
