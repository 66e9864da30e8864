"""Classifiers of mmpretrain that are trained on adversarial examples.

The attack climbs the model's own loss (soft labels of mixup, smoothed ones, several labels an
image) on pixels from 0 to 1, and the model stays plain: same modules, same names in checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lth_core.errors import ConfigError
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from lth_cls.adversarial.attacks import perturb
from lth_cls.adversarial.pixels import PixelSpace
from lth_cls.adversarial.settings import (
    MODEL,
    AdversarialSettings,
    classifier_class,
    parse_adversarial,
)

_HALF_SCALE = 2.0**10
"""Of a loss whose gradients are in half precision: of a batch of 64 it is the scale of 65,536 that
torch's GradScaler begins with, since it applies to the sum over images, not to the mean."""


class AdversarialTraining(BaseClassifier):
    """Mixed into a classifier: its loss, in training, is of adversarial examples.

    A step costs ``attack.steps`` forward-backward passes for the attack and one for the update;
    with TRADES one more for the clean images, and one forward pass if batch norms are in
    evaluation mode during the attack. Parameters take no gradient while attacking.
    """

    adversarial: AdversarialSettings
    _checked = False

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """As the classifier's own in evaluation mode; in training mode of attacked images.

        Args:
            inputs: ``(N, C, H, W)``, as the data preprocessor gives them.
            data_samples: Their labels.

        Raises:
            ConfigError: If the images are of another scale than the data preprocessor says.
        """
        if not self.training or not torch.is_grad_enabled():
            return self.own_loss(inputs, data_samples)
        space = PixelSpace(self.data_preprocessor)
        pixels = space.to_pixels(inputs.detach())
        if not self._checked:
            space.check(pixels)
            self._checked = True
        if self.adversarial.beta is not None:
            return self._trades(space, pixels, inputs, data_samples, self.adversarial.beta)

        def climb(moved: Tensor) -> Tensor:
            losses = self.own_loss(space.to_inputs(moved), data_samples)
            return self.parse_losses(losses)[0] * _scale(moved)

        with self._attacking():
            found = perturb(climb, pixels, self.adversarial.attack)
        return self.own_loss(space.to_inputs(found), data_samples)

    def own_loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The classifier's own losses of the images as they are given."""
        losses: dict[str, Tensor] = super().loss(inputs, data_samples)
        return losses

    def _trades(
        self,
        space: PixelSpace,
        pixels: Tensor,
        inputs: Tensor,
        data_samples: list[Any],
        beta: float,
    ) -> dict[str, Tensor]:
        scores, losses = self._scored(inputs, data_samples)
        target = scores.detach()
        if self.adversarial.bn_mode == "eval":
            with self._attacking(), torch.no_grad():
                target = self(inputs)
            # Autocast has kept half-precision weights made just now, to which no gradient flows.
            torch.clear_autocast_cache()

        def climb(moved: Tensor) -> Tensor:
            return _divergence(self(space.to_inputs(moved)), target) * _scale(moved)

        with self._attacking():
            found = perturb(climb, pixels, self.adversarial.attack)
        apart = _divergence(self(space.to_inputs(found)), scores)
        # mmengine shows the sum of all as "loss", unless one of them is called so.
        named = {"loss_clean" if name == "loss" else name: each for name, each in losses.items()}
        return {**named, "loss_trades": beta * apart}

    def _scored(self, inputs: Tensor, data_samples: list[Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores of the classes ``(N, K)`` and the own losses, of one pass."""
        if getattr(self, "head", None) is None:
            scores = self(inputs)
            return scores, self._get_loss(scores, data_samples)
        features = self.extract_feat(inputs)
        scores = self.head(features)
        if not isinstance(scores, Tensor) or scores.dim() != 2:
            raise ConfigError(
                f"adversarial.loss is 'trades', which needs scores of classes, and "
                f"{type(self.head).__name__} gives something else; use loss='adversarial'"
            )
        return scores, self.head.loss(features, data_samples)

    @contextmanager
    def _attacking(self) -> Iterator[None]:
        """Batch norms in the mode that they have during the attack."""
        norms = [
            module
            for module in self.modules()
            if isinstance(module, _BatchNorm) and module.training
        ]
        if self.adversarial.bn_mode == "train":
            norms = []
        for norm in norms:
            norm.training = False
        try:
            yield
        finally:
            for norm in norms:
                norm.training = True


def _divergence(scores: Tensor, target: Tensor) -> Tensor:
    """KL divergence of the predictions from the target's, mean over images."""
    return F.kl_div(
        F.log_softmax(scores.float(), 1), F.softmax(target.float(), 1), reduction="batchmean"
    )


def _scale(pixels: Tensor) -> float:
    """By what to multiply a mean over images, so that no gradient's sign is lost to underflow."""
    kind = pixels.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return len(pixels) * (_HALF_SCALE if half else 1.0)


@MODELS.register_module(name=MODEL)
def adversarial_classifier(
    adversarial: Mapping[str, Any], classifier: Any = "ImageClassifier", **settings: Any
) -> BaseClassifier:
    """Builds a classifier that is trained on adversarial examples.

    ``model = dict(type='AdversarialClassifier', adversarial=dict(attack='pgd-10'), ...)``; the
    config key ``adversarial`` makes it out of any classifier's config.

    Args:
        adversarial: How it is trained; see :class:`~lth_cls.adversarial.AdversarialSettings`. Its
            alarm is a hook, which the config key adds.
        classifier: Registered name or class of the classifier.
        **settings: The classifier's own.

    Returns:
        A model of a subclass of the classifier, with the same modules and names.

    Raises:
        ConfigError: If a setting of ``adversarial`` is malformed, the classifier is none, or it
            saves memory by checkpointing activations.
    """
    base, training = classifier_class(classifier), parse_adversarial(adversarial)
    name, bases = f"Adversarial{base.__name__}", (AdversarialTraining, base)
    model: BaseClassifier = type(name, bases, {"__module__": __name__})(**settings)
    if any(getattr(module, "with_cp", False) for module in model.modules()):
        raise ConfigError(
            "the model has with_cp=True, and torch's checkpointing of activations cannot give the "
            "gradient of pixels alone; set with_cp=False"
        )
    model.adversarial = training
    return model
