"""How self-supervised models are measured."""

from lth_cls.evaluation.loops import TwoViewTestLoop, TwoViewValLoop
from lth_cls.evaluation.retrieval import RetrievalAccuracy, partner_ranks

__all__ = ["RetrievalAccuracy", "TwoViewTestLoop", "TwoViewValLoop", "partner_ranks"]
