"""What was probably meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def likely(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of ``known`` that is most like ``name``.

    Args:
        name: What was written.
        known: What could have been meant.
        cutoff: Least likeness, of at most 1, as ``difflib`` measures it.
    """
    guess = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return guess[0] if guess else None


def hint(name: object, known: Iterable[str]) -> str:
    """``"did you mean 'x'? "``, or nothing."""
    guess = likely(name, known)
    return "" if guess is None else f"did you mean {guess!r}? "
