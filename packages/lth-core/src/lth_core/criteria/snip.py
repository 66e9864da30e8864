"""SNIP (Lee, Ajanthan, Torr: Single-shot network pruning, ICLR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from lth_core.criteria.running import OnBatches, borrow
from lth_core.randomness import draw_seed
from lth_core.scores import Subject, criterion


@criterion("snip")
class SNIP(OnBatches):
    """Connection sensitivity ``|w · dL/dw|``, the loss's slope in a factor before each weight.

    The gradient is added up over the batches before its absolute value is taken. The paper divides
    the scores by their sum, which changes no rank. Scores in the weights' own dtype; see
    :class:`~lth_core.criteria.running.OnBatches` for the arguments.
    """

    usage = "criterion=lth.criteria.SNIP(batches, loss)"

    def scores(self, subject: Subject, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``|w · dL/dw|``; see the class."""
        with borrow(subject, "SNIP", training=True, seed=draw_seed(generator)) as model:
            slopes = {name: torch.zeros_like(leaf) for name, leaf in model.leaves.items()}
            for loss in self.losses(model):
                for name, gradient in model.gradients(loss).items():
                    slopes[name] += gradient
            return {n: (leaf.detach() * slopes[n]).abs_() for n, leaf in model.leaves.items()}
