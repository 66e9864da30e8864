"""GraSP (Wang, Zhang, Grosse: Picking winning tickets before training, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lth_core.criteria.running import (
    Borrowed,
    Forward,
    Loss,
    OnBatches,
    borrow,
    plain_forward,
    to_device,
)
from lth_core.errors import ConfigError
from lth_core.randomness import draw_seed
from lth_core.scores import Subject, criterion

_PLAIN = SDPBackend.MATH


@criterion("grasp")
class GraSP(OnBatches):
    """Gradient signal preservation: what a weight's removal does to the gradient's norm.

    To first order, removing weight q changes the squared norm ``gᵀg`` by ``-2 w_q (Hg)_q``. The
    paper's score ``S = -w · Hg`` is large for the weights whose removal *raises* the norm, and it
    removes the largest. Here the lowest go first, so the score is ``-S = w · Hg``: the weights
    whose removal hurts the gradient flow least, or helps it most, are pruned first.

    ``g`` and ``H`` are of the loss added up over the batches, with respect to the weights that are
    still kept.

    Args:
        batches: See :class:`~lth_core.criteria.running.OnBatches`. The paper takes ten images of
            each class.
        loss: See there.
        forward: See there.
        temperature: What the outputs are divided by before the loss is taken; the paper's code
            uses 200. With outputs that are not one tensor it must be 1.

    Raises:
        ConfigError: If a batch is not a pair or the temperature not above zero.
    """

    usage = "criterion=lth.criteria.GraSP(batches, loss)"

    def __init__(
        self,
        batches: Iterable[tuple[Any, Any]],
        loss: Loss,
        forward: Forward = plain_forward,
        temperature: float = 200.0,
    ) -> None:
        super().__init__(batches, loss, forward)
        if not temperature > 0:
            raise ConfigError(f"GraSP: temperature is {temperature}; it must be above 0")
        self.temperature = temperature

    def outputs(self, borrowed_model: Borrowed, inputs: Any) -> Any:
        """The model's outputs divided by the temperature."""
        raw = super().outputs(borrowed_model, inputs)
        if self.temperature == 1:
            return raw
        if not isinstance(raw, Tensor):
            raise ConfigError(
                f"GraSP: the outputs are {type(raw).__name__}, which a temperature cannot divide; "
                "set temperature=1"
            )
        return raw / self.temperature

    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``w · Hg``; see the class."""
        seed = draw_seed(generator)
        # Two passes that start from the same random state, so that dropout is the same in both.
        with borrow(subject, "GraSP", training=True, seed=seed) as model:
            flow = {name: torch.zeros_like(leaf) for name, leaf in model.leaves.items()}
            for loss in self.losses(model):
                for name, gradient in model.gradients(loss).items():
                    flow[name] += gradient
        for name, mask in to_device(dict(subject.masks), model.device).items():
            flow[name] *= mask
        # Attention's fused kernels have no second derivative; its plain form has.
        with borrow(subject, "GraSP", training=True, seed=seed) as model, sdpa_kernel(_PLAIN):
            curvature = {name: torch.zeros_like(leaf) for name, leaf in model.leaves.items()}
            for loss in self.losses(model):
                slopes = model.gradients(loss, create_graph=True)
                products = [(slopes[name] * flow[name]).sum() for name in slopes]
                try:
                    parts = model.gradients(torch.stack(products).sum())
                except RuntimeError as error:
                    if "is not implemented" not in str(error):
                        raise
                    raise ConfigError(
                        "GraSP: a layer of the model has no second derivative "
                        f"({str(error).splitlines()[0]}); use SNIP, or another form of that layer"
                    ) from error
                for name, part in parts.items():
                    curvature[name] += part
            return {name: leaf.detach() * curvature[name] for name, leaf in model.leaves.items()}
