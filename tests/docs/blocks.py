"""The fenced blocks of a page, in order, and what is to be done with each.

- ``bash`` runs. Directory and exported variables last from block to block.
- ``python`` whose first line is ``# name.py``, and any block with ``title="name"``, is written.
- other ``python`` runs; blocks that no command stands between are one program.
- ``text`` is what the block before it prints: ``...`` stands for anything, blanks do not count.

A comment before a block changes that: ``<!-- other numbers -->`` before output whose numbers are
those of a full training, and ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:^<!-- *(?P<mark>not run: [^>]+|other numbers) *-->\n\n?)?"
    r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$",
    flags=re.M | re.S,
)
_NAME = re.compile(r"# ([\w./-]+\.py)\n")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        kind: ``bash``, ``python``, ``file``, ``output``, or ``aside`` if it is not run.
        text: What stands in it.
        line: Where its fence is in the page.
        name: Of a file.
        other_numbers: Whether output has to agree but for its numbers.
        reason: Why it is not run.
    """

    kind: str
    text: str
    line: int
    name: str = ""
    other_numbers: bool = False
    reason: str = ""


def read(page: Path) -> list[Block]:
    """The blocks of a page.

    Raises:
        ValueError: If it is not said what is to be done with one.
    """
    text = page.read_text()
    found = [_block(page, text, match) for match in _BLOCK.finditer(text)]
    fences = len(re.findall(r"^[ \t]*(?:```|~~~)", text, flags=re.M))
    if fences != 2 * len(found):
        raise ValueError(f"{page}: {fences} fences, but {len(found)} blocks at the line's start")
    return found


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    line = text.count("\n", 0, match.start("fence")) + 1
    mark, info, content = match["mark"] or "", match["info"].strip(), match["text"]
    language = info.partition(" ")[0]
    if mark.startswith("not run:"):
        return Block("aside", content, line, reason=mark.removeprefix("not run:").strip())
    name = _TITLE.search(info) or (_NAME.match(content) if language == "python" else None)
    if name:
        return Block("file", content, line, name=name[1])
    if language in ("bash", "python"):
        return Block(language, content, line)
    if language == "text":
        return Block("output", content, line, other_numbers=mark == "other numbers")
    raise ValueError(f"{page}:{line}: a block of {info or 'no language'} without a title")


def pages() -> dict[str, Path]:
    """The README and every page of the site, by path."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(page.relative_to(ROOT)): page for page in found}
