"""Invisible, half-width and full-width characters, by which equal-looking texts differ."""

import unicodedata
from typing import Final

JOINERS: Final = "\u200c\u200d"
"""Invisible, but needed between letters in some scripts (RFC 5892, A.1 and A.2)."""

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties, without the two joiners.
_IGNORABLE: Final = (
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200B),
    (0x200E, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)


def _width_mapping() -> dict[int, str]:
    decompositions = {code: unicodedata.decomposition(chr(code)) for code in (0x3000, *range(0xFF01, 0xFFEF))}
    return {
        code: chr(int(parts.split()[1], 16))
        for code, parts in decompositions.items()
        if parts.startswith(("<wide>", "<narrow>"))
    }


VISIBLE: Final[dict[int, str | None]] = {
    # U+FE6B is the small "@" of East Asian fonts.
    0xFE6B: "@",
    **_width_mapping(),
    **{code: None for first, last in _IGNORABLE for code in range(first, last + 1)},
}
"""For `str.translate`: normal width (RFC 8265, 3.3.1), and invisible characters removed."""
