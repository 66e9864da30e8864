"""Do tickets win twice? Paper C's experiments on digits, with seeds and controls.

Pre-trains on digits 0 to 4 in the standard way, with fast adversarial training and with PGD, finds
tickets there, trains them on digits 5 to 9 in the standard way and adversarially, with all data, a
tenth and a hundredth, and says for each of the paper's claims whether it holds here. What is
finished is kept: run it again to go on.
"""

from __future__ import annotations

import sys

from double_win_plan import OWNER, Settings, build_plan
from double_win_report import report, rows_of
from study_main import Study

STUDY = Study(OWNER, __doc__, Settings, build_plan, rows_of, report)

if __name__ == "__main__":
    sys.exit(STUDY.main())
