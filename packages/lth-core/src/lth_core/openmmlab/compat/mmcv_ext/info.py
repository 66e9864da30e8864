"""What environment reports (``mmcv.collect_env``) ask of the extension."""

import torchvision

__all__ = ["get_compiler_version", "get_compiling_cuda_version"]


def get_compiler_version() -> str:
    """Says where the operators come from, in the place of a compiler's name."""
    return f"none (operators from torchvision {torchvision.__version__})"


def get_compiling_cuda_version() -> str:
    """Says that there is no CUDA code of mmcv's own, in the words of a CPU build of mmcv."""
    return "not available"
