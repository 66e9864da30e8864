"""Can networks be pruned without labels? Paper B's experiments on digits, with seeds and controls.

Prunes on labels, RotNet, Exemplar, NPID, S4L and a tenth of the labels; trains the masks on labels,
judges the pruned networks' features on another task, and says for each of the paper's claims
whether it holds here. What is finished is kept: run it again to go on.
"""

from __future__ import annotations

import sys

from self_supervision_plan import OWNER, Settings, build_plan
from self_supervision_report import report, rows_of
from study_main import Study

STUDY = Study(OWNER, __doc__, Settings, build_plan, rows_of, report)

if __name__ == "__main__":
    sys.exit(STUDY.main())
