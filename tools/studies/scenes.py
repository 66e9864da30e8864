"""Do tickets of pre-training detect and segment? Paper A's dense half on digit scenes, with seeds.

Pre-trains on single digits three ways, finds tickets there and on detection and segmentation
themselves, trains detectors and segmenters from all of them and from controls, and says for each of
the paper's claims whether it holds here. What is finished is kept: run it again to go on.
"""

from __future__ import annotations

import sys

from scenes_plan import OWNER, Settings, build_plan
from scenes_report import report, rows_of
from study_main import Study

STUDY = Study(OWNER, __doc__, Settings, build_plan, rows_of, report)

if __name__ == "__main__":
    sys.exit(STUDY.main())
