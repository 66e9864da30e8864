"""What OpenMMLab refuses of a config, by name or value: a user's error, to be told in one line."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mmengine.optim.optimizer import default_constructor
from mmengine.registry import Registry, build_functions
from mmengine.runner import runner

from lth_core.errors import ConfigError
from lth_core.spelling import likely

_ARGUMENT = re.compile(r"(?:(\w+)\.)?\w+\(\) got an unexpected keyword argument '(\w+)'")
_BUILDERS = (build_functions.__file__, runner.__file__)
"""Where OpenMMLab calls what a config names."""

_TYPE = re.compile(r"(\S+) is not in the (.+?) registry")


@contextmanager
def explained() -> Iterator[None]:
    """Explains why OpenMMLab cannot build what a config says.

    Raises:
        ConfigError: Saying which setting, type or value is wrong, and what was probably meant.
    """
    try:
        yield
    except (TypeError, KeyError, ValueError, AssertionError) as problem:
        explanation = _explain(problem)
        if explanation is None:
            raise
        raise ConfigError(explanation) from problem


def _explain(problem: Exception) -> str | None:
    """What the config has to do with an error; None for nothing."""
    optimizer = _optimizer(problem.__traceback__)
    if optimizer is not None:
        name, registry = optimizer
        return _no_type(name, f"{registry.scope}::{registry.name}", registry)
    frame, last = _builder(problem.__traceback__)
    if frame is None:
        return None
    text = " ".join(str(problem.args[0]).split()) if problem.args else ""
    argument, kind = _ARGUMENT.match(text), _TYPE.match(text)
    if argument:
        return _no_setting(frame, argument) if last or _handed_on(frame, argument) else None
    if kind and last:
        return _no_type(kind[1], kind[2], frame.tb_frame.f_locals.get("registry"))
    return _refused(frame, text or type(problem).__name__)


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
        guess = likely(key, known, cutoff=0.9)
        if guess is not None and key not in known:
            raise ConfigError(f"--cfg-options: the config has no {key!r}; did you mean {guess!r}?")


def _builder(frame: TracebackType | None) -> tuple[TracebackType | None, bool]:
    """The last frame in which OpenMMLab builds something, and whether the error came up in it."""
    found, last = None, False
    while frame is not None:
        last = frame.tb_frame.f_code.co_filename in _BUILDERS
        found = frame if last else found
        frame = frame.tb_next
    return found, last


def _optimizer(frame: TracebackType | None) -> tuple[str, Registry] | None:
    """The type of an optimizer that there is not: mmengine looks it up itself, and finds None."""
    while frame is not None:
        found = frame.tb_frame.f_locals
        inside = frame.tb_frame.f_code.co_filename == default_constructor.__file__
        if inside and found.get("optimizer_cls", inside) is None:
            return found["optimizer_cfg"]["type"], found["registry"]
        frame = frame.tb_next
    return None


def _no_type(name: str, where: str, registry: Registry | None) -> str:
    meant = likely(name, _registered(registry))
    advice = (
        "is the module that registers it among custom_imports?"
        if meant is None
        else f"did you mean {meant!r}?"
    )
    return f"the config names a type {name!r}, which {where}'s registry does not have; {advice}"


def _no_setting(frame: TracebackType, argument: re.Match[str]) -> str:
    names = frame.tb_frame.f_globals | frame.tb_frame.f_locals
    built = names.get("obj_cls", names.get(argument[1]))
    meant = likely(argument[2], _settings(built))
    advice = "" if meant is None else f"; did you mean {meant!r}?"
    return (
        f"the config gives {getattr(built, '__name__', 'something')} a setting "
        f"{argument[2]!r}, which it does not have{advice}"
    )


def _refused(builder: TracebackType, text: str) -> str | None:
    """Of an error raised on purpose while something was made; a mistake in code is no refusal."""
    maker = builder.tb_next
    if maker is None or maker.tb_frame.f_code.co_name != "__init__":
        return None
    inner = maker
    while inner.tb_next is not None:
        inner = inner.tb_next
    file = inner.tb_frame.f_code.co_filename
    line = linecache.getline(file, inner.tb_lineno).split()
    if not line or line[0] not in ("raise", "assert"):
        return None
    made = type(maker.tb_frame.f_locals.get("self")).__name__
    place = f"{Path(file).name}, line {inner.tb_lineno}"
    return f"the config gives {made} values that it refuses: {text} ({place})"


def _handed_on(frame: TracebackType, argument: re.Match[str]) -> bool:
    """Whether what is built was given the argument, and has only passed it on (``**kwargs``)."""
    given = frame.tb_frame.f_locals.get("args", ())
    return isinstance(given, dict) and argument[2] in given


def _settings(built: Any) -> list[str]:
    """What a class, or its bases, can be given."""
    makers = [vars(c).get("__init__") for c in built.__mro__] if inspect.isclass(built) else [built]
    known = (inspect.signature(m).parameters for m in makers if inspect.isroutine(m))
    return [name for parameters in known for name in parameters]


def _registered(registry: Registry | None) -> set[str]:
    """The names that a registry finds, which are its parents' too."""
    names: set[str] = set()
    while registry is not None:
        names |= set(registry.module_dict)
        registry = registry.parent
    return names
