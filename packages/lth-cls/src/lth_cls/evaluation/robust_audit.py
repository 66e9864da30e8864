"""``lth test`` of whether a classifier's robustness is real, or its gradients are masked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lth_core.errors import ConfigError
from lth_core.files import write_atomic
from lth_core.results import AUDIT
from mmengine.dist import all_reduce, is_main_process
from mmengine.registry import LOOPS
from mmengine.runner import Runner
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lth_cls.adversarial.attacks import PGD
from lth_cls.evaluation.robust import ATTACKED, RobustTestLoop
from lth_cls.evaluation.robust_attacks import Attack, Images
from lth_cls.evaluation.robust_library import REDUCED
from lth_cls.evaluation.signs import Accuracies, signs, verdict
from lth_cls.evaluation.victim import Victim

UNBOUNDED = PGD(eps=1.0, steps=100, step_size=0.05)
"""May change any pixel to anything, and has the steps for it."""


@LOOPS.register_module()
class RobustAuditLoop(RobustTestLoop):
    """Tests a classifier under attacks that tell robustness from masked gradients.

    ``test_cfg = dict(type='RobustAuditLoop')``. Beside PGD: more steps, more starts, one step, the
    black-box attack Square, images made against another model, an attack without bounds, and on how
    many images the gradient is zero. What they show is judged by :mod:`lth_cls.evaluation.signs`,
    in the log and in ``robustness_audit.json`` in the work directory, which ``lth report`` shows.

    Args:
        runner: As mmengine's.
        dataloader: As mmengine's; it must not shuffle.
        evaluator: As mmengine's.
        metric: Name of the accuracy, in percent, as the evaluator gives it.
        eps: Size of the attacks.
        steps: Of PGD, each of a quarter of ``eps``.
        many_steps: Of PGD with more.
        restarts: Of PGD with more starts.
        queries: Of Square.
        transfer: A checkpoint of another model to make images with, trained otherwise or from
            another seed; None for none.
        transfer_config: Its config; None for that of the model that is tested.
        first: How many images are attacked, the first of the data set; None for all.
        fp16: As mmengine's; attacks compute in half precision, too.
        bf16: The same in bfloat16.

    Raises:
        ConfigError: If a setting is no good, or pyautoattack is not installed.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        evaluator: Any,
        metric: str = "accuracy/top1",
        eps: float = 8 / 255,
        steps: int = 20,
        many_steps: int = 100,
        restarts: int = 5,
        queries: int = 5000,
        transfer: str | None = None,
        transfer_config: str | None = None,
        first: int | None = None,
        fp16: bool = False,
        bf16: bool = False,
    ) -> None:
        pgd = {"type": "PGD", "eps": eps, "steps": steps, "step_size": eps / 4}
        more, again = f"pgd-{many_steps}", f"pgd-{steps}-{restarts}-starts"
        if many_steps <= steps or restarts < 2:
            raise ConfigError(
                f"RobustAuditLoop: many_steps={many_steps} has to be above steps={steps}, and "
                f"restarts={restarts} above 1"
            )
        attacks: dict[str, Any] = {
            f"pgd-{steps}": pgd,
            more: {**pgd, "steps": many_steps},
            again: {**pgd, "restarts": restarts},
            "one-step": {"type": "FGSM", "eps": eps},
            "square": {"type": "Square", "eps": eps, "queries": queries},
            "unbounded": UNBOUNDED,
        }
        if transfer is not None:
            attacks["transfer"] = {
                "type": "Transfer",
                "checkpoint": transfer,
                "config": transfer_config,
                "attack": pgd,
            }
        elif transfer_config is not None:
            raise ConfigError("RobustAuditLoop: transfer_config needs transfer, a checkpoint")
        super().__init__(runner, dataloader, evaluator, attacks, first, fp16, bf16)
        self.metric = metric
        self.eps = eps
        self.slopes = Slopes()
        self.evaluator.attacks[self.slopes.name] = self.slopes
        self._names = {
            "pgd": f"pgd-{steps}",
            "more_steps": more,
            "restarts": again,
            "one_step": "one-step",
            "black_box": "square",
            "unbounded": "unbounded",
            "transfer": "transfer",
        }

    def run(self) -> dict[str, float]:
        """Tests, and judges; the metrics."""
        self.slopes.begin()
        metrics = super().run()
        accuracy = {
            name.removeprefix(f"{self.metric}/"): value
            for name, value in metrics.items()
            if name.startswith(f"{self.metric}/")
        }
        if self._names["pgd"] not in accuracy:
            raise ConfigError(
                f"RobustAuditLoop: the evaluator gives no {self.metric!r} but {', '.join(metrics)}"
            )
        found = Accuracies(
            self.evaluator.number,
            zero_gradients=self.slopes.share(),
            **{
                field: accuracy[each]
                for field, name in self._names.items()
                for each in (name, name + REDUCED)
                if each in accuracy
            },
        )
        clean = accuracy.get(ATTACKED, metrics[self.metric])
        self._report(found, {"clean": clean, **accuracy})
        return metrics

    def _report(self, found: Accuracies, accuracy: dict[str, float]) -> None:
        looked = signs(found)
        said = verdict(found, looked)
        for sign in looked:
            seen = {True: "yes", False: "no", None: "not looked for"}[sign.found]
            self.runner.logger.info(f"lth: {sign.name}: {seen} ({sign.says})")
        self.runner.logger.info(f"lth: {said}")
        result = {
            "checkpoint": self.checkpoint and Path(self.checkpoint).name,
            "eps": self.eps,
            "images": found.images,
            "accuracy": {name: accuracy[name] for name in accuracy if name != ATTACKED},
            "zero_gradients": found.zero_gradients,
            "signs": [asdict(sign) for sign in looked],
            "masked": any(sign.found for sign in looked),
            "verdict": said,
        }
        if is_main_process():
            write_atomic(Path(self.runner.work_dir) / AUDIT, json.dumps(result, indent=2) + "\n")


class Slopes(Attack):
    """Changes nothing: counts images whose gradient of the cross-entropy is zero everywhere."""

    def __init__(self) -> None:
        super().__init__("slopes")
        self.begin()

    def begin(self) -> None:
        """Forgets what was counted."""
        self._zero = self._all = 0

    def __call__(self, victim: Victim, images: Images) -> dict[str, Tensor]:
        """See the base class."""
        pixels = images.pixels.detach().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(victim(pixels), images.labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, pixels)
        self._zero += int((slope.flatten(1) == 0).all(1).sum())
        self._all += len(pixels)
        return {}

    def share(self) -> float:
        """In percent, over all processes."""
        counts = torch.tensor([self._zero, self._all], dtype=torch.float64)
        all_reduce(counts)
        return float(100 * counts[0] / counts[1])
