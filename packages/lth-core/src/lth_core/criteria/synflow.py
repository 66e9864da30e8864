"""SynFlow (Tanaka et al.: Pruning neural networks without any data, NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lth_core.criteria.running import (
    Forward,
    borrow,
    plain_forward,
    require_dependent,
    tensors_in,
)
from lth_core.errors import ConfigError
from lth_core.scores import Criterion, Subject, criterion

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


@criterion("synflow")
class SynFlow(Criterion):
    """Synaptic flow ``w · dR/dw``, where R adds the products of ``|w|`` along all paths.

    An input of ones is sent through the network with absolute weights, and the outputs are added.
    No data and no labels; pruning in many steps is what keeps layers from being cut off whole.

    R is the paper's only if the network is linear in it, so for the time of the run: norms pass
    their input on unchanged (their statistics need data, and scales that begin at zero, as in
    residual branches, would cut whole branches off), biases are zero (paths begin at the input),
    dropout is off. All in float64: products over fifty layers leave float32. The stand-ins carry
    the absolute values, so that no sign has to be restored.

    Args:
        shape: Of one input, without the batch dimension.
        steps: Of the exponential schedule; the paper takes 100.
        forward: How the model is run on the input, if not by ``model(input)``. Every tensor in
            what it returns is added up.

    Raises:
        ConfigError: If the shape or the number of steps is no good.
    """

    def __init__(
        self,
        shape: Sequence[int] = (3, 224, 224),
        steps: int = 100,
        forward: Forward = plain_forward,
    ) -> None:
        self.shape = tuple(shape)
        self.steps = steps
        self.forward = forward
        if not all(type(size) is int and size > 0 for size in self.shape):
            raise ConfigError(f"SynFlow: shape is {self.shape}; it must hold numbers above 0")
        if type(steps) is not int or steps < 1:
            raise ConfigError(f"SynFlow: steps is {steps!r}; it must be a whole number above 0")

    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``w · dR/dw`` in float64; see the class."""
        with (
            borrow(subject, "SynFlow", training=False, convert=_positive) as model,
            _norms_as_identity(subject.model),
        ):
            ones = torch.ones(1, *self.shape, dtype=torch.float64, device=model.device)
            try:
                outputs = list(tensors_in(model.run(self.forward, ones)))
            except (RuntimeError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"SynFlow: the model does not run on ones of shape {tuple(ones.shape)}; name "
                    f"its input: SynFlow(shape=...) ({str(error).splitlines()[0]})"
                ) from error
            if not outputs:
                raise ConfigError("SynFlow: the model gives no tensor; name a forward that does")
            flow = torch.stack([output.sum() for output in outputs]).sum()
            require_dependent(flow, "SynFlow: the output")
            gradients = model.gradients(flow)
            return {name: leaf.detach() * gradients[name] for name, leaf in model.leaves.items()}


def _positive(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return (
        torch.zeros_like(tensor, dtype=torch.float64) if _is_bias(name) else tensor.double().abs()
    )


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


@contextmanager
def _norms_as_identity(model: nn.Module | None) -> Iterator[None]:
    """Norms of any kind, also those of other libraries that keep statistics, do nothing."""
    assert model is not None
    norms = [m for m in model.modules() if isinstance(m, _NORMS) or hasattr(m, "running_var")]
    # A copy, because what follows may work in place on what it takes to be the norm's own output.
    handles = [norm.register_forward_hook(lambda _, args, __: args[0].clone()) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
