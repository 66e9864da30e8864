"""The pixels that pre-trained weights have seen, beside those that a training gives them."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.runner import Runner

from lth_core.scope import unwrap


def warn_of_pixels(runner: Runner) -> None:
    """Says so where the config's ``pixel_mean`` and ``pixel_std`` are not what the model is given.

    A ticket base states them for its weights (R, G, B out of 255): ImageNet's for torchvision and
    MoCo, none for SimCLR. The data preprocessor of a detector or segmenter has its own.
    """
    stated = runner.cfg.get("pixel_mean"), runner.cfg.get("pixel_std")
    given = _normalisation(getattr(unwrap(runner.model), "data_preprocessor", None))
    if None in stated or given is None:
        return
    for name, wanted, found in zip(("mean", "std"), stated, given, strict=True):
        if len(wanted) != len(found) or not torch.allclose(torch.tensor(wanted), found, rtol=1e-3):
            runner.logger.warning(
                f"lth: the weights were trained on pixels of {name} {list(wanted)}, but "
                f"model.data_preprocessor has {name} {[round(v, 3) for v in found.tolist()]}; set "
                "its mean and std to pixel_mean and pixel_std of the ticket base"
            )


def _normalisation(preprocessor: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean and deviation that a data preprocessor takes off, by channel R, G, B."""
    if preprocessor is None:
        return None
    mean, std = getattr(preprocessor, "mean", None), getattr(preprocessor, "std", None)
    if not isinstance(mean, torch.Tensor) or not isinstance(std, torch.Tensor):
        # Nothing is taken off: pixels from 0 to 255.
        return torch.zeros(3), torch.ones(3)
    # Their order is the network's: after the channels have been turned round, if they are.
    return mean.detach().cpu().reshape(-1).float(), std.detach().cpu().reshape(-1).float()
