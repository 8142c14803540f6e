"""The documents: their pages, fenced blocks and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]
)
_FENCE = re.compile(r"^```([a-z]*)(?: ([a-z]+))?\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block: its language, what it is besides, its text, and the page that has it."""

    language: str
    kind: str
    text: str
    page: Path


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str, kind: str = "") -> list[Block]:
    """Return the blocks of a language and kind, in the order of the pages."""
    found = (
        Block(match[1], match[2] or "", match[3], page)
        for page in PAGES
        for match in _FENCE.finditer(page.read_text())
    )
    return [block for block in found if (block.language, block.kind) == (language, kind)]
