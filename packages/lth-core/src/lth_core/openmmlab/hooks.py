"""Hooks that put masks into mmengine's trainings and keep them exact."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from lth_core.attaching import Link, attach, zero_pruned
from lth_core.errors import MaskError, RunError, TicketError
from lth_core.masks import MaskSet, pack_bits
from lth_core.openmmlab.pixels import warn_of_pixels
from lth_core.openmmlab.reinit import forget_pretrained, fresh_weights, warn_of_frozen
from lth_core.openmmlab.settings import KEEP, REINIT, SHARED, TicketSettings
from lth_core.scope import unwrap
from lth_core.ticket import ApplyReport, Ticket
from lth_core.weights import load_backbone

CHECKPOINT_KEY = "lth"
"""Key of a checkpoint under which the masks travel; plain mmengine passes over it."""


class MaskHook(Hook):
    """Zeroes what is pruned when training starts, then keeps and asserts exact zeros.

    Subclasses say what the model starts from (:meth:`start`). When a training is resumed the
    weights come from its checkpoint, which must carry the same masks.

    Sparsity and churn are logged beside the loss, those of single layers where mmengine's
    visualization backends write to (TensorBoard, W&B ...). Masks do not change while a model
    trains, so nothing of it is done at each step.

    Attributes:
        masks: By name, relative to the backbone.
        churn: Fraction of the weights that the mask treats otherwise than the one before it did.
        link: What keeps the masks, while there is a training.
    """

    priority = "VERY_LOW"  # after hooks that change weights or build averaged copies

    def __init__(self, masks: MaskSet) -> None:
        self.masks = masks
        self.churn = 0.0
        self.link: Link | None = None
        self._resumed = False

    @abstractmethod
    def start(self, runner: Runner) -> None:
        """Sets the weights that a fresh training starts from."""

    def before_train(self, runner: Runner) -> None:
        """Puts weights and masks in place once the model has been initialised or resumed."""
        if not self._resumed:
            self.start(runner)
        optimizers = (
            [wrapper.optimizer for wrapper in runner.optim_wrapper.values()]
            if isinstance(runner.optim_wrapper, OptimWrapperDict)
            else [runner.optim_wrapper.optimizer]
        )
        self.link = attach(runner.model, self.masks, optimizers)
        self._sync_averages(runner)
        runner.logger.info(
            f"lth: masked {len(self.masks)} weights at {self.link.prefix or 'the top'}: kept "
            f"{self.masks.kept:,} of {self.masks.total:,}, sparsity "
            f"{100 * self.masks.sparsity:.2f} %, digest {self.masks.digest()[:12]}"
        )
        for name, value in (("sparsity", self.masks.sparsity), ("mask_churn", self.churn)):
            runner.message_hub.update_scalar(f"train/{name}", value)
        self._show_layers(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume from a checkpoint of other masks."""
        if not runner._resume:
            return
        stored = checkpoint.get(CHECKPOINT_KEY, {}).get("digest")
        if stored != self.masks.digest():
            raise RunError(
                f"cannot resume from {runner._load_from or runner.work_dir}: its checkpoint was "
                f"trained with {'other masks' if stored else 'no masks'}; use another --work-dir"
            )
        self._resumed = True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Asserts exact zeros and adds the masks to the checkpoint."""
        self._check()
        checkpoint[CHECKPOINT_KEY] = {
            "digest": self.masks.digest(),
            "masks": {n: torch.from_numpy(pack_bits(m)) for n, m in self.masks.items()},
        }

    def before_val_epoch(self, runner: Runner) -> None:
        """Asserts exact zeros."""
        self._check()

    def after_train(self, runner: Runner) -> None:
        """Asserts exact zeros, and lets the model go."""
        self._check()
        self._show_layers(runner)
        if self.link is not None:
            self.link.detach()

    def _show_layers(self, runner: Runner) -> None:
        layers = self.masks.layer_sparsity()
        shown = {f"sparsity/{name.removesuffix('.weight')}": s for name, s in layers.items()}
        runner.visualizer.add_scalars(shown, step=runner.iter)

    def _check(self) -> None:
        if self.link is not None:
            self.link.check()

    def _sync_averages(self, runner: Runner) -> None:
        """Averaged copies that hooks keep beside the model start from the masked weights too."""
        for hook in runner.hooks:
            average = getattr(getattr(hook, "ema_model", None), "module", None)
            if isinstance(average, nn.Module):
                if not self._resumed:
                    average.load_state_dict(unwrap(runner.model).state_dict())
                zero_pruned(average, self.masks)


@HOOKS.register_module()
class TicketHook(MaskHook):
    """Trains from a ticket: the config key ``ticket``.

    Attributes:
        origin: The ticket as its file holds it, but without weights that are not wanted.
        report: What was matched, once a fresh training has begun.

    Raises:
        TicketError: If the file is missing or damaged, or, at the start of training, does not fit.
    """

    report: ApplyReport | None = None

    def __init__(self, settings: TicketSettings) -> None:
        ticket = Ticket.load(settings.path)
        if settings.weights in (KEEP, REINIT):
            ticket.weights = None
        self.origin = ticket
        masks = settings.variant.derive(ticket.masks) if settings.variant else ticket.masks
        given = settings.weights not in (None, KEEP, REINIT)
        weights = load_backbone(str(settings.weights)) if given else ticket.weights
        self.ticket = Ticket(masks, weights, ticket.meta)
        self.settings = settings
        super().__init__(self.ticket.masks)

    def before_run(self, runner: Runner) -> None:
        """Takes the model's names, and keeps pre-trained weights out where fresh are wanted."""
        super().before_run(runner)
        try:
            shared = self.settings.partial == SHARED
            self.ticket = self.ticket.suited(runner.model, shared)
        except TicketError as problem:
            raise TicketError(f"{self.settings.path}: {problem}") from None
        self.masks = self.ticket.masks
        if self.settings.weights == REINIT:
            forget_pretrained(runner.model, self.masks)

    def start(self, runner: Runner) -> None:
        """Applies the ticket and logs what matched."""
        try:
            if self.settings.weights == REINIT:  # now: the model has been initialised or loaded
                fresh = fresh_weights(runner, self.masks, self.settings.seed)
                self.ticket = replace(self.ticket, weights=fresh)
                warn_of_frozen(runner, self.masks)
            self.report = self.ticket.apply(runner.model, partial=bool(self.settings.partial))
        except (MaskError, TicketError) as problem:
            raise TicketError(f"{self.settings.path}: {problem}") from None
        runner.logger.info(f"lth: ticket {self.settings.path}: {self.report}")
        warn_of_pixels(runner)


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keeps a model's weights in channels-last order, in which convolutions run faster.

    ``custom_hooks = [dict(type='ChannelsLastHook')]`` is all that is needed: activations follow
    the weights, names and values stay what they are.
    """

    def before_run(self, runner: Runner) -> None:
        """Reorders the weights before they are initialised or loaded."""
        runner.model.to(memory_format=torch.channels_last)
