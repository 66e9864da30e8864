"""The criteria by which weights are ranked, one small class each."""

from lth_core.criteria.grasp import GraSP
from lth_core.criteria.snip import SNIP
from lth_core.criteria.synflow import SynFlow
from lth_core.scores import Criterion, Magnitude, Random, Subject, criterion, get_criterion

__all__ = [
    "SNIP",
    "Criterion",
    "GraSP",
    "Magnitude",
    "Random",
    "Subject",
    "SynFlow",
    "criterion",
    "get_criterion",
]
