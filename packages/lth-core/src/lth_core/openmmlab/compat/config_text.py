"""A config's text, formatted once: mmengine has yapf do it five times for each training.

yapf takes a tenth of a second for a config, and a chain's levels have configs that differ in the
name of a directory. So each top-level key is formatted by itself, and what has been seen before is
not formatted again. The text is the same as mmengine's, character by character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import mmengine.config.config as mmengine_config
from mmengine.config.config import FormatCode

_KEYS = re.compile(r"(?m)^(?=[A-Za-z_]\w*=)")


def install() -> None:
    """Has ``Config.pretty_text`` remember what it has formatted. Safe to call again."""
    mmengine_config.FormatCode = format_code


def format_code(text: str, style_config: Any = None, **options: Any) -> tuple[str, bool]:
    """As yapf's ``FormatCode``, for assignments one after the other."""
    if options or not isinstance(style_config, dict):
        result: tuple[str, bool] = FormatCode(text, style_config=style_config, **options)
        return result
    style = tuple(sorted(style_config.items()))
    whole = text if text.endswith("\n") else text + "\n"
    formatted = "".join(_format(key, style) for key in _KEYS.split(whole) if key)
    return formatted, formatted != text


@lru_cache(maxsize=4096)
def _format(key: str, style: tuple[tuple[str, Any], ...]) -> str:
    formatted: str = FormatCode(key, style_config=dict(style))[0]
    return formatted
