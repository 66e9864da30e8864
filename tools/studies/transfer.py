"""Do tickets of pre-training transfer? Paper A's experiments on digits, with seeds and controls.

Pre-trains on digits 0 to 4 three ways, finds tickets there and on the downstream task, trains on
digits 5 to 9 from all of them and from controls, and says for each of the paper's claims whether
it holds here. What is finished is kept: run it again to go on.
"""

from __future__ import annotations

import sys

from study_main import Study
from transfer_plan import OWNER, Settings, build_plan
from transfer_report import report, rows_of

STUDY = Study(OWNER, __doc__, Settings, build_plan, rows_of, report)

if __name__ == "__main__":
    sys.exit(STUDY.main())
