"""2:4 tickets on kernels that skip what is pruned: torch's semi-structured sparsity.

NVIDIA's sparse tensor cores (Ampere and newer) multiply matrices of which two of every four
neighbours are zero. Linear layers are such products, and so are convolutions of one pixel, which
are written as one here; larger convolutions have no such kernel in torch and stay dense.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lth_core.errors import ConfigError, MaskError
from lth_core.masks import MaskSet
from lth_core.nm import follows
from lth_core.scope import unwrap

MULTIPLES = (32, 64)
"""Of outputs and inputs: sizes for which both of torch's backends have kernels."""

DTYPES = (torch.float16, torch.bfloat16)

Pack = Callable[[Tensor], Tensor]


class PointwiseConv2d(nn.Module):
    """A convolution of one pixel, written as a product of matrices.

    With channels last, pictures are a matrix of pixels times channels as they lie in memory.

    Args:
        weight: ``(outputs, inputs)``, packed or not.
        bias: ``(outputs,)`` or None.
        stride: Down and across.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.stride = stride

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures ``(n, inputs, height, width)`` to ``(n, outputs, ...)``, channels last."""
        down, across = self.stride
        if down > 1 or across > 1:
            pictures = pictures[:, :, ::down, ::across]
        pixels = pictures.permute(0, 2, 3, 1)
        result = functional.linear(pixels.reshape(-1, pixels.shape[-1]), self.weight, self.bias)
        return result.reshape(*pixels.shape[:-1], -1).permute(0, 3, 1, 2)


def semi_structured(model: nn.Module, pack: Pack | None = None) -> tuple[nn.Module, list[str]]:
    """Gives layers that follow 2:4 the sparse tensor cores' kernels.

    Args:
        model: On a GPU, float16 or bfloat16, its pruned weights exactly zero. Not changed.
        pack: Makes of a weight ``(outputs, inputs)`` what the kernels take;
            :func:`torch.sparse.to_sparse_semi_structured` by default.

    Returns:
        A copy for inference, and the names of the layers that were packed: linear ones and
        convolutions of one pixel whose weights follow 2:4 and are no smaller than kernels can
        take (:data:`MULTIPLES`). Others are as before.

    Raises:
        ConfigError: If there is no such GPU, or the model is elsewhere or of another type.
        MaskError: If no layer can be packed.
    """
    model = copy.deepcopy(unwrap(model)).eval()
    if pack is None:
        require_kernels(model)
        pack = torch.sparse.to_sparse_semi_structured
    packed = []
    for name, module in list(model.named_modules()):
        if not _fits(module):
            continue
        weight = module.get_parameter("weight").detach().flatten(1)
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(pack(weight.contiguous()), requires_grad=False)
        else:
            stride = tuple(module.stride)
            place, _, last = name.rpartition(".")
            bias = module._parameters["bias"]
            other = PointwiseConv2d(pack(weight.contiguous()), bias, stride)
            setattr(model.get_submodule(place), last, other)
        packed.append(name)
    if not packed:
        raise MaskError(
            f"no layer of {type(model).__name__} can use 2:4 kernels: they take linear layers and "
            "1 x 1 convolutions that follow 2:4, outputs in multiples of "
            f"{MULTIPLES[0]} and inputs of {MULTIPLES[1]}; make the ticket with --structure 2:4"
        )
    return model, packed


def require_kernels(model: nn.Module) -> None:
    """Checks that a model is where 2:4 kernels are.

    Raises:
        ConfigError: If it is not.
    """
    first = next(model.parameters())
    if first.device.type != "cuda":
        raise ConfigError(
            f"2:4 kernels need the model on an NVIDIA GPU of compute capability 8.0 or newer; it "
            f"is on {first.device}"
        )
    capability = torch.cuda.get_device_capability(first.device)
    if capability < (8, 0):
        raise ConfigError(
            f"2:4 kernels need an NVIDIA GPU of compute capability 8.0 or newer; "
            f"{torch.cuda.get_device_name(first.device)} has {'.'.join(map(str, capability))}"
        )
    if first.dtype not in DTYPES:
        raise ConfigError(
            f"2:4 kernels need float16 or bfloat16, the model is {first.dtype}; call .half() or "
            ".bfloat16() on it"
        )


def _fits(module: nn.Module) -> bool:
    pointwise = (
        isinstance(module, nn.Conv2d)
        and tuple(module.kernel_size) == (1, 1)
        and module.groups == 1
        and module.padding in (0, (0, 0), "valid")
    )
    if not pointwise and type(module) is not nn.Linear:
        return False
    weight = module.get_parameter("weight").detach()
    if any(size % multiple for size, multiple in zip(weight.shape, MULTIPLES, strict=False)):
        return False
    return follows(MaskSet({"weight": weight != 0}))
