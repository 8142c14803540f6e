"""Normalize e-mail addresses: every spelling of a mailbox has one form.

Everything that stores, compares, suppresses or sends to an address uses this form.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from email.utils import formataddr
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

import idna

from config.values.characters import JOINERS, VISIBLE


def canonical_email(text: str) -> str | None:
    """Return the canonical form of an address, None if it is no addr-spec of RFC 5322 and 6532.

    The local part in lower case and NFC, quoted only where it must be, full and half width and what is
    invisible mapped away (RFC 8265); the domain in lower case by UTS 46 and IDNA 2008, non-transitional, as
    DNS has it. Comments, names, angle brackets, folded lines and encoded words are refused: they are no part
    of an address.
    """
    if len(text) > _LONGEST:
        return None
    spelled = text.strip().lower()
    if _PLAIN.fullmatch(spelled) and not _ENCODED_WORD.search(spelled):
        return spelled if len(spelled) - spelled.index("@") - 1 <= _LONGEST_DOMAIN else None
    return _canonical_email(text)


def canonical_email_part(text: str, *, starts: bool = False, ends: bool = False) -> str | None:
    """Return the canonical form of a part of an address, such as `@straße.tld`; None if it is invalid.

    Labels of a domain are taken as whole ones. Without its "@", one that DNS spells otherwise is only known
    for a domain where the part `ends` the address.
    """
    if len(text) > _LONGEST:
        return None
    spelled = unicodedata.normalize("NFC", _visible(text).strip().lower())
    local, at, domain = spelled.rpartition("@")
    if not at and not ends:
        return spelled if spelled and (starts or spelled.isascii()) else None
    if (quoted := _QUOTED_PART.fullmatch(local)) is not None:
        local = _quoted_local(_ESCAPED.sub(r"\1", quoted[1]))
    host = _host_of(domain)
    if host is None or not (local or at or host) or ((at or ends) and not _HOST_PART.fullmatch(host)):
        return None
    return local + at + (host.removesuffix(".") if ends else host)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An e-mail address with or without a display name."""

    name: str
    address: str

    def __str__(self) -> str:
        return _header(self.name, self.address)

    @property
    def domain(self) -> str:
        """Return the domain in ASCII (IDNA)."""
        return self.address.rpartition("@")[2]


def read_mailbox(text: str) -> Mailbox:
    """Parse a mailbox such as `Acme <news@acme.com>`. Raises ValueError with the reason.

    The local part keeps its case; the domain is in ASCII (IDNA).
    """
    if not text.translate(_JOINERS_ARE_SEEN).isprintable():
        raise ValueError("It has characters that cannot be printed.")
    found = _NAMED.fullmatch(text) or _BARE.fullmatch(text)
    if found is None:
        raise ValueError(_why_no_mailbox(text))
    parts = found.groupdict()
    typed = parts["address"].strip()
    address = canonical_email(typed)
    if address is None:
        raise ValueError(f'"{typed}" is no e-mail address.')
    quoted, plain = parts.get("quoted"), parts.get("plain")
    name = _ESCAPED.sub(r"\1", quoted[1:-1]) if quoted else (plain or "")
    return Mailbox(" ".join(name.split()), typed if typed.lower() == address else address)


def mailbox_text(name: str, address: str) -> str:
    """Return a mailbox as it is typed, the name in quotes: `"Acme, Inc." <news@acme.com>`."""
    if not name:
        return address
    escaped = re.sub(r'(["\\])', r"\\\1", name)
    return f'"{escaped}" <{address}>'


def check_mailbox(text: str) -> Mailbox:
    """Parse a sender's mailbox. Raises ValueError with the reason.

    Its domain has to be in ASCII (IDNA) already, so that the stored text is what is sent.
    """
    mailbox = read_mailbox(text)
    if not text.rpartition("@")[2].isascii():
        raise ValueError(f'Write the domain as DNS has it: "{mailbox.domain}".')
    return mailbox


# E-mail
# --------------------------------------------------------------------------------------------------------

_ATEXT: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]"
# Letters, digits and hyphens; underscores, which some hosts have for all that.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_LONGEST_DOMAIN: Final = 253
_LONGEST: Final = 1_000
"""Longest text that is parsed, in characters: normalising takes quadratic time."""
_PLAIN: Final = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_LABEL}(?:\.{_LABEL})*")
_DOT_ATOM: Final = re.compile(rf"(?:{_ATEXT}|[^\x00-\x7f])+(?:\.(?:{_ATEXT}|[^\x00-\x7f])+)*")
_HOST_LABEL: Final = re.compile(_LABEL)
# Of RFC 2047, which has none in an addr-spec (section 5): what reads it all the same would write to somebody
# else.
_ENCODED_WORD: Final = re.compile(r"=\?[^?]*\?[^?]*\?.*?\?=", re.DOTALL)
_HOST_PART: Final = re.compile(r"[a-z0-9_.:\[\]-]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)+)"@([^@]+)')
_QUOTED_PART: Final = re.compile(r'"((?:[^"\\]|\\.)+)"')
_ESCAPED: Final = re.compile(r"\\(.)")


@lru_cache(maxsize=4096)
def _canonical_email(text: str) -> str | None:
    spelled = unicodedata.normalize("NFC", _visible(text).strip().lower())
    if (quoted := _QUOTED.fullmatch(spelled)) is not None:
        local, domain = _quoted_local(_ESCAPED.sub(r"\1", quoted[1])), quoted[2]
    else:
        local, at, domain = spelled.partition("@")
        if not at or not _DOT_ATOM.fullmatch(local):
            return None
    host = _canonical_host(domain)
    return f"{local}@{host}" if host is not None and _is_sound(local) else None


def _visible(text: str) -> str:
    """Return text without invisible characters; joiners stay where a script needs them (RFC 5892, A.1, A.2)."""
    mapped = text.translate(VISIBLE)
    for place in reversed([at for at, character in enumerate(mapped) if character in JOINERS]):
        if not _joins(mapped, place):
            mapped = mapped[:place] + mapped[place + 1 :]
    return mapped


def _joins(text: str, place: int) -> bool:
    try:
        return idna.valid_contextj(text, place)
    except ValueError:  # a character that has no name, hence joins nothing
        return False


def _quoted_local(content: str) -> str:
    """Return a local part with the least quoting (RFC 5321, 4.1.2)."""
    if _DOT_ATOM.fullmatch(content):
        return content
    return '"' + re.sub(r'(["\\])', r"\\\1", content) + '"'


def _is_sound(local: str) -> bool:
    """Tell whether a local part starts with a base character and has no control characters or encoded word."""
    if _ENCODED_WORD.search(local):
        return False
    if local.isascii():
        return local.isprintable()
    if unicodedata.category(local.lstrip('"')[:1] or " ").startswith("M"):
        return False
    return all(
        character == " " or character in JOINERS or unicodedata.category(character)[0] in "LMNPS"
        for character in local
    )


def _canonical_host(domain: str) -> str | None:
    if domain.startswith("[") and domain.endswith("]"):
        return _canonical_literal(domain[1:-1])
    host = _host_of(domain)
    if host is None or len(host := host.removesuffix(".")) > _LONGEST_DOMAIN:
        return None
    return host if all(map(_HOST_LABEL.fullmatch, host.split("."))) else None


def _host_of(domain: str) -> str | None:
    """Return a domain, or a part of one, in ASCII (IDNA); None if a label is invalid."""
    if domain.isascii():
        return domain
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False, transitional=False)
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split(".")
        )
    except UnicodeError:  # idna's own are, too
        return None


def _canonical_literal(text: str) -> str | None:
    """Return the canonical address literal, in brackets (RFC 5321, 4.1.3)."""
    try:
        if not text.startswith("ipv6:"):
            return f"[{IPv4Address(text)}]"
        address = IPv6Address(text.removeprefix("ipv6:"))
    except AddressValueError:
        return None
    if address.scope_id is not None:
        return None
    return f"[{address.ipv4_mapped}]" if address.ipv4_mapped else f"[ipv6:{address.compressed}]"


# Mailboxes
# -----------------------------------------------------------------------------------------------------

# A full stop in a name without quotes is of the obsolete syntax, and everybody writes "Acme Inc.".
_NAMED: Final = re.compile(
    r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<plain>[^()<>\[\]:;@\\,"]*?))\s*<(?P<address>[^<>]+)>\s*'
)
_JOINERS_ARE_SEEN: Final = dict.fromkeys(map(ord, JOINERS), "-")
_BARE: Final = re.compile(r"\s*(?P<address>[^<>,;]+)\s*")
_SPECIALS: Final = re.compile(r'[()<>\[\]:;@\\,"]')


def _why_no_mailbox(text: str) -> str:
    name, _, rest = text.rpartition("<")
    if "@" in name or text.count("@") > 1:
        return "It must be one address, not several."
    if rest.endswith(">") and (special := _SPECIALS.search(name)) is not None:
        return f'A name with "{special[0]}" must be in quotes: "{name.strip()}" <{rest}'
    return "It must be an e-mail address, with a name or without."


def _header(name: str, address: str) -> str:
    # formataddr takes ASCII addresses only; of the others the header's own encoding takes care.
    if name and address.isascii():
        return formataddr((name, address))
    return mailbox_text(name, address)
