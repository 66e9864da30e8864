"""Linear classifiers on frozen features: only the head is trained (paper B, Fig. 1)."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from lth_core.errors import RunError
from lth_core.scope import join_some, unwrap
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class FrozenBackboneClassifier(ImageClassifier):
    """mmpretrain's classifier, of which neck and head alone are trained, whatever the backbone.

    The backbone's norms use their running statistics and leave them as they are. Names of tensors
    are ``ImageClassifier``'s.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.backbone.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> FrozenBackboneClassifier:
        """As torch's, but the backbone stays as it is in evaluation."""
        super().train(mode)
        self.backbone.eval()
        return self


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Asserts, at each validation and checkpoint, that no bit of the backbone has changed.

    ``custom_hooks = [dict(type='FrozenBackboneHook')]``; goes with
    :class:`FrozenBackboneClassifier`.
    """

    priority = "LOWEST"  # what a ticket puts into the backbone is there by then

    def __init__(self) -> None:
        self._before: dict[str, str] = {}

    def before_train(self, runner: Runner) -> None:
        """Takes the backbone as it is now."""
        self._before = _digests(unwrap(runner.model))

    def before_val_epoch(self, runner: Runner) -> None:
        """See :meth:`check`."""
        self.check(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """See :meth:`check`."""
        self.check(runner)

    def after_train(self, runner: Runner) -> None:
        """See :meth:`check`."""
        self.check(runner)

    def check(self, runner: Runner) -> None:
        """Compares the backbone with what it was.

        Raises:
            RunError: If a tensor has changed, with the names of those that have.
        """
        if not self._before:  # validated without training
            return
        now = _digests(unwrap(runner.model))
        changed = [name for name, digest in now.items() if self._before.get(name) != digest]
        if changed:
            raise RunError(
                f"the backbone is to stay as it is, and {join_some(changed)} changed; use the "
                "model FrozenBackboneClassifier"
            )


def _digests(model: nn.Module) -> dict[str, str]:
    """Of each tensor of the backbone."""
    backbone = model.get_submodule("backbone")
    return {name: _digest(tensor) for name, tensor in backbone.state_dict().items()}


def _digest(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()
