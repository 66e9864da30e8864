"""mmcv's own CUDA kernels, compiled for the CPU: a reference where there is no GPU.

Of the operators that lth supplies, mmcv has CPU kernels for some only. The sources of the others
come with a compiled mmcv; their launches are rewritten into plain calls (``_cuda_on_cpu.hpp``) and
built by PyTorch's extension builder, which takes a C++ compiler and ninja and about two minutes
the first time.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.utils import cpp_extension

# Source file, and in it the function that launches the kernels of each operator.
LAUNCHERS = {
    "roi_pool_cuda.cu": {
        "roi_pool_forward": "ROIPoolForwardCUDAKernelLauncher",
        "roi_pool_backward": "ROIPoolBackwardCUDAKernelLauncher",
    },
    "deform_roi_pool_cuda.cu": {
        "deform_roi_pool_forward": "DeformRoIPoolForwardCUDAKernelLauncher",
        "deform_roi_pool_backward": "DeformRoIPoolBackwardCUDAKernelLauncher",
    },
    "focal_loss_cuda.cu": {
        "sigmoid_focal_loss_forward": "SigmoidFocalLossForwardCUDAKernelLauncher",
        "sigmoid_focal_loss_backward": "SigmoidFocalLossBackwardCUDAKernelLauncher",
        "softmax_focal_loss_forward": "SoftmaxFocalLossForwardCUDAKernelLauncher",
        "softmax_focal_loss_backward": "SoftmaxFocalLossBackwardCUDAKernelLauncher",
    },
    "carafe_naive_cuda.cu": {
        "carafe_naive_forward": "CARAFENAIVEForwardCUDAKernelLauncher",
        "carafe_naive_backward": "CARAFENAIVEBackwardCUDAKernelLauncher",
    },
    "masked_conv2d_cuda.cu": {
        "masked_im2col_forward": "MaskedIm2colForwardCUDAKernelLauncher",
        "masked_col2im_forward": "MaskedCol2imForwardCUDAKernelLauncher",
    },
    "ms_deform_attn_cuda.cu": {
        "ms_deform_attn_forward": "ms_deform_attn_cuda_forward",
        "ms_deform_attn_backward": "ms_deform_attn_cuda_backward",
    },
    "sync_bn_cuda.cu": {
        "sync_bn_forward_mean": "SyncBNForwardMeanCUDAKernelLauncher",
        "sync_bn_forward_var": "SyncBNForwardVarCUDAKernelLauncher",
        "sync_bn_forward_output": "SyncBNForwardOutputCUDAKernelLauncher",
        "sync_bn_backward_param": "SyncBNBackwardParamCUDAKernelLauncher",
        "sync_bn_backward_data": "SyncBNBackwardDataCUDAKernelLauncher",
    },
}

NAME = "mmcv's CUDA kernel, run on the CPU"

_LAUNCH = re.compile(r"(\w+\s*(?:<[\w\s,]*>)?)\s*<<<(.*?)>>>\s*\(", re.DOTALL)
_INCLUDE = re.compile(r'^#include [<"](.*?)[>"]$', re.MULTILINE)


def translate(source: str, headers: Path) -> str:
    """CUDA source as C++: launches become calls, mmcv's own headers are put in their place.

    Args:
        source: Text of a ``.cu`` or ``.cuh`` file.
        headers: Folder of ``.cuh`` files. What is not there is CUDA's, and left out.
    """

    def include(found: re.Match[str]) -> str:
        header = headers / found[1]
        return translate(header.read_text(), headers) if header.is_file() else ""

    source = _INCLUDE.sub(include, source)
    source = source.replace(
        "extern __shared__ int _s[];", "auto _s = on_cpu::shared_memory.data();"
    )
    source = source.replace(".is_cuda()", ".is_cpu()")
    return _LAUNCH.sub(r"on_cpu::launch(\2, \1, ", source)


def build(sources: Path, folder: Path, verbose: bool = False) -> ModuleType:
    """Compiles the kernels.

    Args:
        sources: mmcv's ``ops/csrc``.
        folder: Where to build; what is there from an earlier call is used again.
        verbose: Whether to show the compiler's work.
    """
    headers = sources / "common" / "cuda"
    text = ['#include "_cuda_on_cpu.hpp"']
    text.append(translate('#include "common_cuda_helper.hpp"', headers))
    bindings = []
    for file, functions in LAUNCHERS.items():
        cuda = (sources / "pytorch" / "cuda" / file).read_text()
        text.append(translate(cuda, headers))
        bindings += [f'm.def("{name}", &{launch});' for name, launch in functions.items()]
    text.append("PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {" + "\n".join(bindings) + "}")
    folder.mkdir(parents=True, exist_ok=True)
    unit = folder / "kernels.cpp"
    unit.write_text("\n".join(text))
    return cpp_extension.load(
        "mmcv_cuda_on_cpu",
        [str(unit)],
        build_directory=str(folder),
        extra_include_paths=[str(Path(__file__).parent)],
        extra_cflags=["-O2", "-w"],
        verbose=verbose,
    )


def operators(kernels: ModuleType, ours: ModuleType) -> dict[str, Callable[..., Any]]:
    """The kernels as operators with the arguments that mmcv passes.

    Args:
        kernels: From :func:`build`.
        ours: The stand-in, whose signatures tell the order of arguments given by name.
    """
    found = {
        name: _positional(getattr(kernels, name), getattr(ours, name))
        for functions in LAUNCHERS.values()
        for name in functions
    }
    # The faster form of CARAFE is made of warp shuffles; mmcv's plain form has the same meaning.

    def carafe_forward(features: Tensor, masks: Tensor, rfeatures: Tensor, *rest: Any) -> None:
        rfeatures.copy_(features)
        found["carafe_naive_forward"](features, masks, *rest[2:])

    def carafe_backward(top_grad: Tensor, rfeatures: Tensor, masks: Tensor, *rest: Any) -> None:
        found["carafe_naive_backward"](top_grad, rfeatures, masks, *rest[4:])

    output = found["sync_bn_forward_output"]

    def sync_bn_forward_output(input: Tensor, mean: Tensor, var: Tensor, *rest: Any) -> None:
        affine, running = rest[:2], rest[2:4]  # mmcv's launcher has them the other way round
        output(input, mean, var, *running, *affine, *rest[4:])

    for function in (carafe_forward, carafe_backward, sync_bn_forward_output):
        found[function.__name__] = _positional(function, getattr(ours, function.__name__))
    return found


def _positional(function: Callable[..., Any], like: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(like)

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*signature.bind(*args, **kwargs).args)

    return call
