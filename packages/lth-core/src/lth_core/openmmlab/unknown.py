"""Names in a config that OpenMMLab does not know: a user's error, to be told in one line."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from mmengine.registry import build_functions
from mmengine.runner import runner

from lth_core.errors import ConfigError

_ARGUMENT = re.compile(r"(?:(\w+)\.)?\w+\(\) got an unexpected keyword argument '(\w+)'")
_BUILDERS = (build_functions.__file__, runner.__file__)
"""Where OpenMMLab calls what a config names."""

_TYPE = re.compile(r"(\S+) is not in the (\S+) registry")


@contextmanager
def named() -> Iterator[None]:
    """Names settings and types that a registry could not build from.

    Raises:
        ConfigError: Saying which, and what was probably meant.
    """
    try:
        yield
    except (TypeError, KeyError) as problem:
        frame, last = _builder(problem.__traceback__)
        text = str(problem.args[0]) if problem.args else ""
        argument, kind = _ARGUMENT.match(text), _TYPE.match(text)
        if frame is None or not (last or _handed_on(frame, argument)):
            raise
        if argument:
            names = frame.tb_frame.f_globals | frame.tb_frame.f_locals
            built = names.get("obj_cls", names.get(argument[1]))
            hint = _hint(argument[2], _settings(built))
            raise ConfigError(
                f"the config gives {getattr(built, '__name__', 'something')} a setting "
                f"{argument[2]!r}, which it does not have{hint}"
            ) from problem
        if kind:
            registry = frame.tb_frame.f_locals.get("registry")
            hint = _hint(kind[1], registry.module_dict if registry is not None else ())
            raise ConfigError(
                f"the config names a type {kind[1]!r}, which {kind[2]}'s registry does not have"
                f"{hint or '; is the module that registers it among custom_imports?'}"
            ) from problem
        raise


def reject_misspelt_options(config: Iterable[str], options: Iterable[str]) -> None:
    """Refuses an option whose top-level key is new and looks like one that the config has.

    Args:
        config: The config's keys.
        options: Keys of options, dots between their parts.

    Raises:
        ConfigError: Naming the key and what was probably meant; mmengine would add it in silence.
    """
    known = list(config)
    for option in options:
        key = option.partition(".")[0]
        guess = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
        if guess and key not in known:
            raise ConfigError(
                f"--cfg-options: the config has no {key!r}; did you mean {guess[0]!r}?"
            )


def _builder(frame: TracebackType | None) -> tuple[TracebackType | None, bool]:
    """The last frame in which OpenMMLab builds something, and whether the error came up in it."""
    found, last = None, False
    while frame is not None:
        last = frame.tb_frame.f_code.co_filename in _BUILDERS
        found = frame if last else found
        frame = frame.tb_next
    return found, last


def _handed_on(frame: TracebackType, argument: re.Match[str] | None) -> bool:
    """Whether what is built was given the argument, and has only passed it on (``**kwargs``)."""
    given = frame.tb_frame.f_locals.get("args", ())
    return argument is not None and isinstance(given, dict) and argument[2] in given


def _settings(built: Any) -> list[str]:
    """What a class, or its bases, can be given."""
    makers = [vars(c).get("__init__") for c in built.__mro__] if inspect.isclass(built) else [built]
    known = (inspect.signature(m).parameters for m in makers if inspect.isroutine(m))
    return [name for parameters in known for name in parameters]


def _hint(name: str, known: Iterable[str]) -> str:
    guess = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {guess[0]!r}?" if guess else ""
