"""Secrets of the installation: generated if not given, refused if weak, derived for each purpose."""

import fcntl
import hashlib
import os
import secrets
import zlib
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config.home import home_problem

_BYTES: Final = 48
_PUBLIC: Final = ("only-for-this-machine",)
"""Secrets published in code or documentation."""
_PUBLIC_BEGINNINGS: Final = ("django-insecure-",)
_SHORTEST: Final = 32


def derived_keys(purpose: str) -> list[str]:
    """Return the keys for a purpose: the first signs; the rest, of rotated secrets, only verify."""
    return [
        hashlib.sha256(f"{purpose}:{secret}".encode()).hexdigest()
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]


def key_in(home: Path, name: str) -> str:
    """Return the secret in a file of `home`, generated at first use. Raises ImproperlyConfigured."""
    path = home / name
    try:
        if not path.exists():
            _make(path)
        key = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name.upper()} is kept in HEADRACE_HOME. {home_problem(error)} Or set {name.upper()} instead"
        ) from None
    if not key:
        raise ImproperlyConfigured(f"{name.upper()}: {path} is empty; remove it for a new one")
    return key


def require_secret(name: str, key: str, *, strong: bool) -> str:
    """Return the key unless it is empty, public or, if `strong`, guessable. Raises ImproperlyConfigured."""
    advice = "; make one by: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if key in _PUBLIC or key.startswith(_PUBLIC_BEGINNINGS):
        raise ImproperlyConfigured(f"{name}: this one is publicly known{advice}")
    # Repetitive keys compress to less.
    if strong and min(len(key), len(zlib.compress(key.encode(), 9))) < _SHORTEST:
        raise ImproperlyConfigured(f"{name}: too short or too regular{advice}")
    if not key:
        raise ImproperlyConfigured(f"{name}: it is empty{advice}")
    return key


def _make(path: Path) -> None:
    """Generate the secret, unless another process just did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name("keys.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_urlsafe(_BYTES)}\n")
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
    finally:
        os.close(lock)
