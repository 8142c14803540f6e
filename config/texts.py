"""How names are spelled: tags, events, properties, keys of messages."""

import unicodedata


def composed(text: str) -> str:
    """Return a name in Unicode's composed form (NFC): however its accents were typed, it is one name."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
