"""What was probably meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def hint(name: object, known: Collection[str]) -> str:
    """``"did you mean 'x'? "`` for the one of ``known`` that is most like ``name``, or nothing."""
    guess = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {guess[0]!r}? " if guess else ""
