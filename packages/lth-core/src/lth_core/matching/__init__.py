"""Does a ticket match dense? The papers' rule, and a test that says what it can tell.

**The papers' rule** (paper A, footnote 7): a level matches if its mean is not more than one
standard deviation of the dense runs below dense's mean. It says nothing of chance: with few seeds
the deviation itself is a guess.

**The test**: Welch's, of one side, on the difference of the means. A level *matches* if it is shown
to be less than ``margin`` worse than dense (by default that same standard deviation), and is
*worse* if it is shown to be worse at all; else it is *undecided*. The levels of a family are tested
together by Holm's method. ``power`` is how likely a level that is truly as good as dense would have
been shown to match, with these seeds and this spread: where it is low, undecided means little.

**Several conditions at once**: a *universal* ticket matches on every one of several tasks
(:func:`universal`), and a *double-win* ticket (paper C) in standard accuracy (SA) after standard
training and in both SA and robust accuracy (RA) after adversarial training (:func:`double_win`).
:mod:`lth_core.matching.jointly` says what that means for the test's errors.
"""

from lth_core.matching.double_wins import (
    ADVERSARIAL,
    ADVERSARIAL_RA,
    ADVERSARIAL_SA,
    ROBUST_METRIC,
    STANDARD_SA,
    Condition,
    DoubleWin,
    all_double_wins,
    double_win,
    pairs_by_name,
)
from lth_core.matching.families import (
    ALPHA,
    MATCHES,
    UNDECIDED,
    WORSE,
    Family,
    Level,
    Match,
    match,
    percent,
)
from lth_core.matching.jointly import MISSING, JointLevel, Universal, universal
from lth_core.matching.welch import POWER

__all__ = [
    "ADVERSARIAL",
    "ADVERSARIAL_RA",
    "ADVERSARIAL_SA",
    "ALPHA",
    "MATCHES",
    "MISSING",
    "POWER",
    "ROBUST_METRIC",
    "STANDARD_SA",
    "UNDECIDED",
    "WORSE",
    "Condition",
    "DoubleWin",
    "Family",
    "JointLevel",
    "Level",
    "Match",
    "Universal",
    "all_double_wins",
    "double_win",
    "match",
    "pairs_by_name",
    "percent",
    "universal",
]
