import lth_core.openmmlab.compat.mmcv_ext as mmcv_ext
import pytest
import torch

# Before any test module is collected, since these import mmcv.ops at their top.
mmcv_ext.install()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param
