"""Validation of self-supervised models: features of two views of each image.

mmpretrain's self-supervisors compute losses, and features, but have no mode ``predict``, which
mmengine's validation asks for. Here a loop asks for features instead. So the model stays
mmpretrain's own, plain and with the same keys in its checkpoints, which a wrapper around it would
change, and every self-supervisor with ``extract_feat`` can be validated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lth_core.errors import ConfigError
from lth_core.scope import unwrap
from mmengine.registry import LOOPS
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch import Tensor


@LOOPS.register_module()
class TwoViewValLoop(ValLoop):
    """Validates with a metric that compares the features of two views, as RetrievalAccuracy.

    The data set's pipeline gives two views of each image (``MultiView``). LTHRunner draws the same
    ones in every validation: in all levels of a chain, and after a restart.
    """

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Mapping[str, Any]) -> None:
        """Hands a batch's features to the evaluator."""
        self.runner.call_hook("before_val_iter", batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = view_features(self.runner.model, data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            "after_val_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs
        )


@LOOPS.register_module()
class TwoViewTestLoop(TestLoop):
    """As :class:`TwoViewValLoop`, for ``test``."""

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Mapping[str, Any]) -> None:
        """Hands a batch's features to the evaluator."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = view_features(self.runner.model, data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            "after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs
        )


def view_features(model: Any, data_batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    """The backbone's features, averaged over the image, of two views of each image.

    Not the projection head's: paper A's code measures the 2048 features of ResNet-50.

    Args:
        model: A model of mmpretrain's with ``extract_feat``, wrapped or not.
        data_batch: With ``inputs`` of two tensors ``(N, 3, H, W)``.

    Returns:
        N dicts with ``views``, ``(2, C)``.

    Raises:
        ConfigError: If there are not two views.
    """
    model = unwrap(model)
    views = model.data_preprocessor(data_batch, False)["inputs"]
    if not isinstance(views, list) or len(views) != 2:
        raise ConfigError(
            "the validation compares two views of each image, and the pipeline gives "
            f"{len(views) if isinstance(views, list) else 'one'}; wrap its transforms in "
            "dict(type='MultiView', num_views=2, transforms=[[...]])"
        )
    features = torch.stack([pooled(model.extract_feat(view)) for view in views], dim=1)
    return [{"views": pair} for pair in features]


def pooled(features: Any) -> Tensor:
    """``(N, C)`` of what a backbone or neck gives: its last map, averaged over height and width."""
    last: Tensor = features[-1] if isinstance(features, (tuple, list)) else features
    return last.flatten(2).mean(2) if last.dim() > 2 else last
