"""Adversarial training of mmpretrain classifiers, and the attacks that it and tests use."""

from lth_cls.adversarial.attacks import FGSM, PGD, PRESETS, parse_attack, perturb
from lth_cls.adversarial.pixels import PixelSpace

__all__ = ["FGSM", "PGD", "PRESETS", "PixelSpace", "parse_attack", "perturb"]
