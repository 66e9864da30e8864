"""``lth study``: a config trained from dense weights, tickets and controls, over several seeds.

``controls`` says what tickets can be compared with, ``entries`` which tickets there are, ``check``
where all of them start from and whether they fit, ``plan`` what there is to train, and ``command``
does it.
"""

from lth_core.openmmlab.study.command import run_study
from lth_core.openmmlab.study.controls import SENSITIVITY, choose_controls
from lth_core.openmmlab.study.plan import Settings

__all__ = ["SENSITIVITY", "Settings", "choose_controls", "run_study"]
