"""Iterative magnitude pruning: a chain of ordinary trainings, one directory each.

How tickets are looked for is in :mod:`~lth_core.imp.settings`, the rounds themselves in
:mod:`~lth_core.imp.rounds`, the files they leave in :mod:`~lth_core.imp.directory`. How a level is
trained is the business of a :class:`LevelTrainer`.
"""

from lth_core.imp.directory import METRICS, TICKET, hold
from lth_core.imp.level import Level, LevelResult, LevelTrainer, Trained
from lth_core.imp.point import Point
from lth_core.imp.rounds import run_imp
from lth_core.imp.settings import PRESETS, REWINDS, IMPSettings

__all__ = [
    "METRICS",
    "PRESETS",
    "REWINDS",
    "TICKET",
    "IMPSettings",
    "Level",
    "LevelResult",
    "LevelTrainer",
    "Point",
    "Trained",
    "hold",
    "run_imp",
]
