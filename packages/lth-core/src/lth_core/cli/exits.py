"""How commands end: exit codes, and the line on stderr that says why."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum

from lth_core.errors import LTHError


class Exit(IntEnum):
    """Exit codes of ``lth`` and of the scripts in ``tools/``."""

    DONE = 0
    UNEXPECTED = 1
    USER_ERROR = 2
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.UNEXPECTED: "an error in lth itself, with a traceback; or its output was cut off",
    Exit.USER_ERROR: "wrong arguments, a wrong setting or file: one line says what and where",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}

_REPORT = "this is an error in lth or in code that it runs; please report it with all lines above"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_OF_A_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOENT)


def guarded(command: Callable[[], object], go_on: str = "") -> int:
    """Runs ``command``; whatever ends it becomes an exit code, and one line if a user caused it.

    Args:
        command: What to run.
        go_on: How to run the same command to go on after an interruption: ``"again"``; empty for
            commands that are over at once.

    Returns:
        An :class:`Exit`.
    """
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # here a closed pipe can be told from other errors
    except LTHError as problem:
        _complain(*(f"error: {line}" for line in str(problem).splitlines()))
        return Exit.USER_ERROR
    except BrokenPipeError:
        # Python flushes once more as it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNEXPECTED
    except OSError as problem:
        reason = _reason(problem, go_on)
        if reason is None:
            return _unexpected()
        _complain(f"error: {reason}")
        return Exit.USER_ERROR
    except KeyboardInterrupt:
        _complain(f"interrupted; run the same command {go_on} to go on" if go_on else "interrupted")
        return Exit.INTERRUPTED
    except Exception:
        return _unexpected()
    return Exit.DONE


def _reason(problem: OSError, go_on: str) -> str | None:
    """Why a file could not be used, None if that is no user's doing."""
    if problem.errno in _OF_THE_DISK:
        where = problem.filename or "a file of the run"
        then = f" and run the same command {go_on} to go on" if go_on else ""
        return f"{where} cannot be written: {problem.strerror}; put that right{then}"
    if problem.errno in _OF_A_NAME and problem.filename:
        return f"{problem.filename} cannot be used: {problem.strerror}"
    return None


def _unexpected() -> int:
    traceback.print_exc()
    print(_REPORT, file=sys.stderr)
    return Exit.UNEXPECTED


def _complain(*lines: str) -> None:
    """Of many processes at one training, the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        for line in lines:
            print(line, file=sys.stderr)
