"""Pretext tasks of paper B, as models of mmpretrain: what they have beyond mmpretrain's own parts.

RotNet is an ``ImageClassifier`` whose data preprocessor turns images; S4L-RotNet the same with two
heads. Exemplar and NPID are self-supervisors like mmpretrain's SimCLR.
"""

from lth_cls.pretext.exemplar import Exemplar, TripletMarginHead
from lth_cls.pretext.multi_task import WholeBatchMultiTaskHead
from lth_cls.pretext.npid import NPID
from lth_cls.pretext.rotation import (
    RotationAccuracy,
    RotationPreprocessor,
    SemiSupervisedRotationPreprocessor,
    turned,
)

__all__ = [
    "NPID",
    "Exemplar",
    "RotationAccuracy",
    "RotationPreprocessor",
    "SemiSupervisedRotationPreprocessor",
    "TripletMarginHead",
    "WholeBatchMultiTaskHead",
    "turned",
]
