"""Networks of the papers that mmpretrain has in another form."""

from lth_cls.models.alexnet import AlexNetTrunk

__all__ = ["AlexNetTrunk"]
