"""Browser origins that a workspace allows: parsing and normalising."""

from collections.abc import Iterable
from urllib.parse import urlsplit

MOST_ORIGINS = 100
_DEFAULT_PORTS = {"http": 80, "https": 443}


class InvalidOrigin(ValueError):
    """The text is not an origin."""

    def __init__(self, text: object) -> None:
        super().__init__(f'"{text}" is no origin, such as "https://shop.example"')
        self.text = text


def parse_origins(texts: Iterable[object]) -> list[str]:
    """Return origins as browsers send them, without duplicates. Raises InvalidOrigin."""
    return list(dict.fromkeys(map(parse_origin, texts)))


def parse_origin(text: object) -> str:
    """Return scheme, host and any non-default port, as browsers send them. Raises InvalidOrigin."""
    if not isinstance(text, str) or not text.isprintable() or " " in text.strip():
        raise InvalidOrigin(text)
    try:
        parts = urlsplit(text.strip())
        port, host = parts.port, parts.hostname
        # Browsers send international hosts in ASCII (IDNA).
        host = host and host.encode("idna").decode() if host and not host.isascii() else host
    except ValueError as error:
        raise InvalidOrigin(text) from error
    is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in _DEFAULT_PORTS or not host or port == 0 or not is_bare or "*" in host:
        raise InvalidOrigin(text)
    host = f"[{host}]" if ":" in host else host
    return (
        f"{parts.scheme}://{host}"
        if port in (None, _DEFAULT_PORTS[parts.scheme])
        else f"{parts.scheme}://{host}:{port}"
    )
