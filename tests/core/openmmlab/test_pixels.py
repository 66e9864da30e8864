"""A config whose pixels contradict the weights warns, once."""

from __future__ import annotations

from pathlib import Path

import lth_core.openmmlab  # noqa: F401
import pytest
import torch
from lth_core.openmmlab import LTHRunner, TicketHook
from lth_core.openmmlab.pixels import warn_of_pixels

from .toy import toy_config

IMAGENET = {"pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375]}
SIMCLR = {"pixel_mean": [0.0, 0.0, 0.0], "pixel_std": [255.0, 255.0, 255.0]}


class Said:
    """A logger that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Preprocessor(torch.nn.Module):
    """As OpenMMLab's: buffers of shape (3, 1, 1)."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))


class Model(torch.nn.Module):
    def __init__(self, preprocessor: torch.nn.Module) -> None:
        super().__init__()
        self.data_preprocessor = preprocessor


class Runner:
    def __init__(self, cfg: dict, preprocessor: torch.nn.Module) -> None:
        self.cfg = cfg
        self.model = Model(preprocessor)
        self.logger = Said()


def said(cfg: dict, preprocessor: torch.nn.Module) -> list[str]:
    runner = Runner(cfg, preprocessor)
    warn_of_pixels(runner)  # type: ignore[arg-type]
    return runner.logger.warnings


@pytest.mark.parametrize("stated", [IMAGENET, SIMCLR])
@pytest.mark.parametrize("given", [IMAGENET, SIMCLR])
def test_only_other_pixels_are_said(stated: dict, given: dict) -> None:
    warnings = said(stated, Preprocessor(given["pixel_mean"], given["pixel_std"]))
    assert len(warnings) == (0 if stated is given else 2)
    for warning, name in zip(warnings, ("mean", "std"), strict=False):
        assert f"{name} {stated[f'pixel_{name}']}" in warning


def test_rounded_values_are_the_same() -> None:
    assert not said(IMAGENET, Preprocessor([123.68, 116.28, 103.53], [58.4, 57.12, 57.38]))


def test_a_config_that_states_nothing_is_left_alone() -> None:
    assert not said({}, Preprocessor([0.0] * 3, [1.0] * 3))


def test_a_preprocessor_that_takes_nothing_off_gives_pixels_up_to_255() -> None:
    assert len(said(IMAGENET, torch.nn.Identity())) == 2


def test_a_ticket_training_says_it(
    ticket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr("lth_core.openmmlab.hooks.warn_of_pixels", seen.append)
    runner = LTHRunner.from_cfg(toy_config(tmp_path, epochs=1, ticket={"path": str(ticket)}))
    runner.train()
    assert seen == [runner]
    assert any(isinstance(hook, TicketHook) for hook in runner.hooks)
