"""Validation and test of classifiers on images as they are and under attack."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from lth_core.errors import ConfigError
from lth_core.scope import unwrap
from mmengine.dist import get_rank, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, Runner, ValLoop
from torch.utils.data import DataLoader

from lth_cls.evaluation.checkpoints import RecordedTest
from lth_cls.evaluation.robust_attacks import PROGRESS_SECONDS, Images, parse_attacks
from lth_cls.evaluation.victim import Victim, bfloat16, frozen, labels_of

ATTACKED = "attacked"
"""Name, among metrics, of the images that are attacked where those are not all, as they are."""


class RobustEvaluator(Evaluator):
    """mmengine's, and a copy of its metrics for each attack.

    What a metric is called on the images as they are, ``accuracy/top1``, has the attack's name
    added under attack: ``accuracy/top1/pgd-20``. With ``first`` a further one,
    ``accuracy/top1/attacked``, is that of the images which are attacked, as they are.

    Args:
        plain: The evaluator of the images as they are.
        runner: Whose model is evaluated.
        dataloader: Of the images.
        attacks: Each by its name; see :func:`~lth_cls.evaluation.robust_attacks.parse_attacks`.
        first: How many images are attacked, the first of the data set; None for all.
        half: Whether models compute in half precision.

    Raises:
        ConfigError: If a setting is no good, or the loader shuffles.
    """

    def __init__(
        self,
        plain: Evaluator,
        runner: Runner,
        dataloader: DataLoader,
        attacks: Any,
        first: int | None = None,
        half: bool = False,
    ) -> None:
        super().__init__(plain.metrics)
        self._dataset_meta = plain.dataset_meta
        if first is not None and (type(first) is not int or first < 1):
            raise ConfigError(f"first is {first!r}; use a whole number above 0, or None for all")
        if getattr(dataloader.sampler, "shuffle", False):
            raise ConfigError(
                "images are attacked in the order of the data set, and the data loader shuffles: "
                "set sampler.shuffle=False"
            )
        self.runner = runner
        self.attacks = parse_attacks(attacks, runner.cfg)
        self.half = half
        size = len(dataloader.dataset)  # type: ignore[arg-type]
        self.number = size if first is None else min(first, size)
        self.partly = self.number < size
        self._fresh = copy.deepcopy(plain.metrics)
        self.begin()

    def begin(self) -> None:
        """Forgets what has been counted of a pass over the data."""
        self._seen = 0
        self._right: Counter[str] = Counter()
        self._told = time.monotonic()
        self.attacked: dict[str, Evaluator] = {}
        for metric in self.metrics:
            metric.results.clear()

    def attack(self, data_batch: Mapping[str, Any]) -> None:
        """Attacks a batch of the data loader, the next in its order."""
        rank, ranks = get_rank(), get_world_size()
        # Of several processes' images every ranks-th is this one's, in the order of the data set;
        # all take the same number, or collecting them would lose some.
        own = -(-self.number // ranks)
        left = own - self._seen
        if left <= 0:
            return
        model: Any = unwrap(self.runner.model)
        with torch.no_grad(), frozen(model):
            data = model.data_preprocessor(data_batch, False)
            samples = data["data_samples"][:left]
            victim = Victim(model, self.half)
            pixels = victim.space.to_pixels(data["inputs"][:left]).detach()
            if self._seen == 0:
                victim.check(pixels, samples)
            places = [rank + ranks * (self._seen + k) for k in range(len(samples))]
            images = Images(pixels, labels_of(samples), places, self.runner.seed)
            found = {ATTACKED: pixels} if self.partly else {}
            for attack in self.attacks.values():
                found |= attack(victim, images)
            for name, changed in found.items():
                outputs = victim.predict(changed, samples)
                if name not in self.attacked:
                    self.attacked[name] = Evaluator(copy.deepcopy(self._fresh))
                self.attacked[name].process(outputs, data_batch)
                self._right[name] += sum(int(o.pred_label == o.gt_label) for o in outputs)
        self._seen += len(samples)
        self._tell(own)

    def evaluate(self, size: int) -> dict[str, float]:
        """The metrics of the images as they are, and of those under each attack."""
        metrics = super().evaluate(size)
        for name, evaluator in self.attacked.items():
            found = evaluator.evaluate(self.number)
            metrics |= {f"{metric}/{name}": value for metric, value in found.items()}
        return metrics

    def _tell(self, own: int) -> None:
        now = time.monotonic()
        if now - self._told < PROGRESS_SECONDS and self._seen < own:
            return
        self._told = now
        shares = (
            f"{'as they are' if name == ATTACKED else name} {100 * right / self._seen:.2f} %"
            for name, right in self._right.items()
        )
        self.runner.logger.info(
            f"lth: attacked {self._seen:,} of {own:,} images; still right: {', '.join(shares)}"
        )


class _Attacked(BaseLoop):
    """What the two loops have in common: a mixin before mmengine's."""

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        evaluator: Any,
        attacks: Any,
        first: int | None = None,
        fp16: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if fp16 and bf16:
            raise ConfigError("fp16 and bf16 are both on; choose one")
        self.fp16, self.bf16 = fp16 or bf16, bf16
        self.evaluator: Any = RobustEvaluator(
            self.evaluator, self.runner, self.dataloader, attacks, first, self.fp16
        )

    def run(self) -> dict[str, float]:
        """Goes through the data; the metrics."""
        self.evaluator.begin()
        with bfloat16(self.bf16):
            metrics: dict[str, float] = super().run()
        return metrics

    def run_iter(self, idx: int, data_batch: Mapping[str, Any]) -> None:
        """Looks at a batch as it is, then attacks it."""
        super().run_iter(idx, data_batch)
        self.evaluator.attack(data_batch)


@LOOPS.register_module()
class RobustValLoop(_Attacked, ValLoop):
    """Validates any mmpretrain classifier on images as they are and under attacks.

    ``val_cfg = dict(type='RobustValLoop', attacks=dict(...))``. Whatever the evaluator measures is
    measured under each attack too: ``accuracy/top1`` is the accuracy on the images as they are,
    ``accuracy/top1/pgd-20`` that under the attack of the name ``pgd-20``.

    The model is in evaluation mode, its parameters take no gradient. Random starts are drawn from
    the run's seed and the image's place in the data set alone: they are the same in each
    validation, in each level of a chain, and for any size of batches and number of processes.

    Args:
        runner: As mmengine's.
        dataloader: As mmengine's; it must not shuffle.
        evaluator: As mmengine's.
        attacks: Each by a name of your own: a preset of :mod:`lth_cls.adversarial`, or a dict with
            ``type``: ``PGD``, ``AutoAttack``, ``Square`` or ``Transfer``; see
            :mod:`lth_cls.evaluation.robust_attacks`.
        first: How many images are attacked, the first of the data set; None for all.
        fp16: As mmengine's; attacks compute in half precision, too.
        bf16: The same in bfloat16.

    Raises:
        ConfigError: If a setting is no good.
    """


@LOOPS.register_module()
class RobustTestLoop(_Attacked, RecordedTest):
    """As :class:`RobustValLoop`, for ``test``; see :class:`RecordedTest` for where numbers go."""

    def run(self) -> dict[str, float]:
        """Tests; the metrics."""
        metrics = super().run()
        self.record(metrics)
        return metrics
