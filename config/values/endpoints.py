"""Canonical forms of webhook URLs and Telegram chat ids: every spelling of one has the same form."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import idna

MAX_URL: Final = 2048
_CHAT: Final = re.compile(r"-?[1-9][0-9]{0,15}", re.ASCII)
_CHAT_NAME: Final = re.compile(r"@[a-z][a-z0-9_]{3,31}", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}


def canonical_url(text: str) -> str | None:
    """Return the canonical form of an http or https URL, None if it is invalid.

    Scheme and host in lower case, the host in ASCII (IDNA), without default port and fragment.
    """
    spelled = text.strip()
    if len(spelled) > MAX_URL or not spelled.isprintable() or " " in spelled or "\\" in spelled:
        return None
    try:
        parts = urlsplit(spelled)
        host, port = parts.hostname, parts.port
        if parts.scheme not in _PORTS or not host or port == 0:
            return None
        host = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except ValueError:  # idna's own are, too
        return None
    login, at, _ = parts.netloc.rpartition("@")
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port not in (None, _PORTS[parts.scheme]) else ""
    url = urlunsplit((parts.scheme, f"{login}{at}{place}", parts.path or "/", parts.query, ""))
    return url if len(url) <= MAX_URL else None


def canonical_chat(text: str) -> str | None:
    """Return the canonical Telegram chat id: a number, or `@channel` in lower case; None if invalid."""
    spelled = text.strip().lower()
    return spelled if _CHAT.fullmatch(spelled) or _CHAT_NAME.fullmatch(spelled) else None
