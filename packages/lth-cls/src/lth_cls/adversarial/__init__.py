"""Adversarial training of mmpretrain classifiers, and the attacks that it and tests use.

The config key ``adversarial`` trains any classifier's config on adversarial examples.
"""

from lth_cls.adversarial.alarm import OverfittingAlarm
from lth_cls.adversarial.attacks import FGSM, PGD, PRESETS, parse_attack, perturb
from lth_cls.adversarial.classifier import AdversarialTraining, adversarial_classifier
from lth_cls.adversarial.pixels import PixelSpace
from lth_cls.adversarial.settings import AdversarialSettings, AlarmSettings, parse_adversarial

__all__ = [
    "FGSM",
    "PGD",
    "PRESETS",
    "AdversarialSettings",
    "AdversarialTraining",
    "AlarmSettings",
    "OverfittingAlarm",
    "PixelSpace",
    "adversarial_classifier",
    "parse_adversarial",
    "parse_attack",
    "perturb",
]
