"""The alarm of catastrophic overfitting, to which training against a single step is prone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lth_core.modes import evaluating
from lth_core.randomness import borrowed
from lth_core.scope import unwrap
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from lth_cls.adversarial.attacks import PGD, perturb
from lth_cls.adversarial.classifier import AdversarialTraining
from lth_cls.adversarial.pixels import PixelSpace

STEPS = 5
"""Of the attack that is compared with; a step is a quarter of ``eps``, as in Wong et al. (2020)."""

HIGH = 0.2
"""Accuracy under the training's attack from which on there is something to lose."""

COLLAPSED = 0.1
"""Share of it that is left under the other attack where training has overfitted."""

IN_A_ROW = 2
"""How often that must be seen; a standard model's first iterations look alike."""


@HOOKS.register_module()
class OverfittingAlarm(Hook):
    """Warns, once, when a model has learnt to withstand the attack of its training and no other.

    Trained against one step, a network can lose its robustness within an epoch: accuracy under
    that step stays high, under PGD of the same ``eps`` it falls to nothing, and neither the loss
    nor clean accuracy shows it (Wong et al. 2020). This looks at the next mini-batch, before it is
    trained on: both accuracies, in percent, stand beside the loss as ``accuracy_training_attack``
    and ``accuracy_pgd``. What a training comes to does not depend on it.

    A look at all images of a batch costs 6 forward-backward and 2 forward passes, that is one
    every 100 iterations about 3.5 % of training against one step; at 64 of 128 images half of it.

    Args:
        interval: Iterations from one look to the next.
        images: How many images of the mini-batch are looked at, at most.
    """

    def __init__(self, interval: int, images: int) -> None:
        self.interval = interval
        self.images = images
        self._collapses = 0
        self._warned = False
        self._off = False

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Looks, where it is due."""
        if self._off or data_batch is None or not self.every_n_train_iters(runner, self.interval):
            return
        model = unwrap(runner.model)
        if not isinstance(model, AdversarialTraining):
            runner.logger.warning(
                "lth: OverfittingAlarm has nothing to watch: the model is no AdversarialClassifier"
            )
            self._off = True
            return
        accuracies = self._look(model, data_batch)
        if accuracies is None:
            runner.logger.info("lth: no alarm of overfitting: the images have not one label each")
            self._off = True
            return
        trained, other = accuracies
        runner.message_hub.update_scalar("train/accuracy_training_attack", 100 * trained)
        runner.message_hub.update_scalar("train/accuracy_pgd", 100 * other)
        collapsed = trained >= HIGH and other <= COLLAPSED * trained
        self._collapses = self._collapses + 1 if collapsed else 0
        if self._collapses == IN_A_ROW and not self._warned:
            self._warned = True
            runner.logger.warning(
                f"lth: catastrophic overfitting at iteration {runner.iter + 1}: of training "
                f"images {100 * trained:.0f} % are right under the attack of the training, "
                f"{100 * other:.0f} % under PGD of {STEPS} steps and the same eps. The model is "
                "not robust; train with a random start, a smaller step_size or eps, or PGD"
            )

    def _look(self, model: Any, batch: dict[str, Any]) -> tuple[float, float] | None:
        """Shares of right images under the training's attack and under PGD, over all processes."""
        device = next(model.parameters()).device
        with borrowed(device=device), evaluating(model):
            data = model.data_preprocessor(copy.copy(batch), False)
            inputs = data["inputs"][: self.images]
            samples = copy.deepcopy(data["data_samples"][: self.images])
            labels = [sample.get("gt_label") for sample in samples]
            if any(label is None or label.numel() != 1 for label in labels):
                return None
            space = PixelSpace(model.data_preprocessor)
            pixels = space.to_pixels(inputs)

            def loss(moved: Tensor) -> Tensor:
                losses = model.own_loss(space.to_inputs(moved), samples)
                return len(moved) * model.parse_losses(losses)[0]

            eps = model.adversarial.attack.eps
            right = []
            for attack in (model.adversarial.attack, PGD(eps, STEPS, eps / 4)):
                found = perturb(loss, pixels, attack)
                with torch.no_grad():
                    predicted = model.predict(space.to_inputs(found))
                pairs = zip(predicted, labels, strict=True)
                right.append(sum(p.pred_label.item() == label.item() for p, label in pairs))
        counts = torch.tensor([*right, len(labels)], dtype=torch.float64, device=device)
        all_reduce(counts)
        trained, other, count = counts.tolist()
        return trained / count, other / count
