"""Data sets: the embedded digits, the downstream tasks of the papers, corrupted pictures."""

from lth_core.openmmlab import preflight

from lth_cls.datasets.cifar import SplitCIFAR10, SplitCIFAR100
from lth_cls.datasets.corruptions import CIFAR10C, CIFAR100C
from lth_cls.datasets.digits import DigitsDataset
from lth_cls.datasets.fashion_mnist import SplitFashionMNIST
from lth_cls.datasets.portion import Portion
from lth_cls.datasets.svhn import SplitSVHN
from lth_cls.datasets.visda import VisDA2017

__all__ = [
    "CIFAR10C",
    "CIFAR100C",
    "DigitsDataset",
    "Portion",
    "SplitCIFAR10",
    "SplitCIFAR100",
    "SplitFashionMNIST",
    "SplitSVHN",
    "VisDA2017",
]

# What is said before anything is built, where the whole folder is missing.
for _kind in (SplitCIFAR10, SplitCIFAR100, SplitSVHN, SplitFashionMNIST, VisDA2017, CIFAR10C,
              CIFAR100C):  # fmt: skip
    preflight.SOURCES[_kind.__name__] = _kind.SOURCE
