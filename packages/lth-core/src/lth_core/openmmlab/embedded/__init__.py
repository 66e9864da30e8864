"""Data that needs no download: handwritten digits, and scenes composed from them.

The digits are the 1,797 real ones that scikit-learn carries. `digits` gives them in memory;
`scenes_root` gives a folder in VOC layout, for detection and segmentation, which is made once
into a cache. Both are fixed by their seed, and no digit is on both sides of train and test.
"""

from lth_core.openmmlab.embedded.cache import DataError, data_root
from lth_core.openmmlab.embedded.digits import CLASSES, DigitSet, digits
from lth_core.openmmlab.embedded.scenes import Scene, SceneSettings, compose
from lth_core.openmmlab.embedded.voc import PALETTE, image_set, scenes_root

__all__ = [
    "CLASSES",
    "PALETTE",
    "DataError",
    "DigitSet",
    "Scene",
    "SceneSettings",
    "compose",
    "data_root",
    "digits",
    "image_set",
    "scenes_root",
]
