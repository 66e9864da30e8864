"""How models are measured: self-supervised ones, their features, and classifiers under attack."""

from lth_cls.evaluation.average_precision import VOCClassificationAP, average_precision
from lth_cls.evaluation.corruptions import CorruptionTestLoop
from lth_cls.evaluation.frozen import FrozenBackboneClassifier, FrozenBackboneHook
from lth_cls.evaluation.linear_svm import LinearSVMs, SVMSettings, train_svms
from lth_cls.evaluation.loops import TwoViewTestLoop, TwoViewValLoop
from lth_cls.evaluation.retrieval import RetrievalAccuracy, partner_ranks
from lth_cls.evaluation.robust import RobustEvaluator, RobustTestLoop, RobustValLoop
from lth_cls.evaluation.robust_audit import RobustAuditLoop
from lth_cls.evaluation.settings import RobustnessSettings
from lth_cls.evaluation.svm_loop import LinearSVMLoop

__all__ = [
    "CorruptionTestLoop",
    "FrozenBackboneClassifier",
    "FrozenBackboneHook",
    "LinearSVMLoop",
    "LinearSVMs",
    "RetrievalAccuracy",
    "RobustAuditLoop",
    "RobustEvaluator",
    "RobustTestLoop",
    "RobustValLoop",
    "RobustnessSettings",
    "SVMSettings",
    "TwoViewTestLoop",
    "TwoViewValLoop",
    "VOCClassificationAP",
    "average_precision",
    "partner_ranks",
    "train_svms",
]
