"""Docstrings name other objects by Sphinx's roles; the site shows them as links.

A name is looked for from where it stands, as Python would. One that the site has no page for is
shown as code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|mod|meth|data|attr|exc|obj):`(~?)([\w.]+)`")


class SphinxRoles(griffe.Extension):
    """Rewrites ``:func:`name``` to a link that may be missing."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites one object's docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = _ROLE.sub(lambda role: _link(obj, *role.groups()), text)


def _link(obj: griffe.Object, short: str, name: str) -> str:
    try:
        path = obj.resolve(name)
    except griffe.NameResolutionError:
        path = name
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'
