"""Published weights for a backbone from any known file: all of them, or an error."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase

from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from lth_core.backbones import read_backbone
from lth_core.errors import CheckpointError
from lth_core.scope import join_some, misfits, strays


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """``backbone=dict(..., init_cfg=dict(type='PretrainedBackbone', checkpoint=...))``.

    mmengine's own ``Pretrained`` knows one naming, and starts at random with no more than a line
    in the log where a file has another. This one reads what :func:`lth_core.load_backbone` reads
    (torchvision's, MoCo's and SimCLR's files, robust models, tickets), and everything but
    ``leave`` must be there and fit: weights, biases, and the running statistics of norms. Of
    MoCo's two encoders the one of the queries is taken. Pixels that a robust model normalises by
    itself, and not as usual on ImageNet, are told of in the log.

    Args:
        checkpoint: The file.
        leave: Tensors that keep the values their own initialisers gave them, by shell patterns:
            ``['conv1.weight']`` where a 3 x 3 stem takes the place of a 7 x 7 one (paper A,
            section A.3: network).

    Raises:
        CheckpointError: When the model is initialised, if the file is missing or unreadable, or
            does not fit.
    """

    def __init__(self, checkpoint: str, leave: Sequence[str] = ()) -> None:
        self.checkpoint = checkpoint
        self.leave = tuple(leave)

    def __call__(self, module: nn.Module) -> None:
        """Sets the backbone ``module``."""
        found, report = read_backbone(self.checkpoint)
        state = module.state_dict()
        wanted = {n: t for n, t in state.items() if not any(fnmatchcase(n, p) for p in self.leave)}
        problems = misfits(wanted, found) + strays(state, found)
        if problems:
            raise CheckpointError(
                f"{self.checkpoint} does not fit {type(module).__name__}: {join_some(problems)}; "
                "use weights of this architecture, or name in init_cfg.leave what to leave out"
            )
        module.load_state_dict({n: found[n] for n in wanted if n in found}, strict=False)
        left = [name for name in state if name not in wanted]
        if report.unusual:
            print_log(f"lth: {self.checkpoint}: {report.unusual}", "current", logging.WARNING)
        print_log(
            f"lth: {self.checkpoint}: loaded {len(wanted)} tensors"
            + (f"; left as initialised: {join_some(left)}" if left else ""),
            logger="current",
        )
