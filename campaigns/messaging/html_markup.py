"""Locate tags and attributes in HTML as browsers do, to change one and no other byte.

After the HTML standard's tokenizer (13.2.5). Parsers that build a tree and write it out again change more than that.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.entities import html5
from typing import Final

_NAME: Final = re.compile(r"[^ \t\n\r\f/>]+")
_BETWEEN: Final = re.compile(r"[ \t\n\r\f/]*")
_ATTRIBUTE: Final = re.compile(r"=?[^ \t\n\r\f/>=]*")
_EQUALS: Final = re.compile(r"[ \t\n\r\f]*=[ \t\n\r\f]*")
_UNQUOTED: Final = re.compile(r"[^ \t\n\r\f>]*")
_CONDITION: Final = re.compile(r"<!--\[if\b[^\]>]{0,200}\]>", re.IGNORECASE)
"""What begins markup that only Outlook reads: to it, it is no comment."""
_ABRUPT: Final = re.compile(r"<!---?>")
_COMMENT_END: Final = re.compile(r"--!?>")
_RAW: Final = {
    name: re.compile(rf"</{name}(?=[ \t\n\r\f/>])", re.IGNORECASE)
    for name in ("script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title")
}
"""Elements in which there are no tags, and what ends them."""
_REFERENCE: Final = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|([A-Za-z][A-Za-z0-9]*)(;?))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Value:
    """Where an attribute's value stands, without its quotes, and what it says."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag; of an attribute that comes twice, the first counts."""

    name: str
    start: int
    is_end: bool
    attributes: Mapping[str, Value]


def tags_of(source: str) -> Iterator[Tag]:
    """Return the tags of an HTML text, in order; those in comments, scripts and styles are none."""
    place = source.find("<")
    while place >= 0:
        following = source[place + 1 : place + 2]
        if following == "!" or following == "?":
            place = _after_comment(source, place)
        elif _is_letter(following) or (following == "/" and _is_letter(source[place + 2 : place + 3])):
            tag, place = _read_tag(source, place)
            if tag is None:
                return
            yield tag
            if not tag.is_end:
                place = _after_raw(source, tag.name, place)
        elif following == "/":
            place = _after(source, ">", place + 2)
        else:
            place += 1
        if place < 0:
            return
        place = source.find("<", place)


def decoded(written: str) -> str:
    """Return what an attribute's value says: `&copy=` and `&copyright` stay, and so does what is no reference."""
    return _REFERENCE.sub(lambda found: _decoded_reference(found, written), written)


def with_attributes(source: str, name: str, change: Callable[[Tag, str], str | None]) -> str:
    """Return an HTML text in which one attribute of some tags says something else: what `change` returns of the tag
    and the value; None: it stays as it is. No byte changes but those of the value and its quotes."""
    parts, place = [], 0
    for tag in tags_of(source):
        value = tag.attributes.get(name)
        if value is None or tag.is_end or (changed := change(tag, value.text)) is None:
            continue
        quotes = 1 if source[value.start - 1] in ('"', "'") else 0
        parts += [source[place : value.start - quotes], f'"{html.escape(changed)}"']
        place = value.end + quotes
    return "".join(parts) + source[place:]


def address_in(value: str) -> str:
    """Return the address that a link means, without white space around it, and without lines and tabs in it."""
    return value.strip(_AROUND).translate(_LINES)


_AROUND: Final = "".join(map(chr, range(0x21)))
_LINES: Final = str.maketrans("", "", "\t\n\r")


def _is_letter(text: str) -> bool:
    return text.isascii() and text.isalpha()


def _after(source: str, text: str, start: int) -> int:
    """Return where what follows a text begins; -1: it does not come."""
    found = source.find(text, start)
    return found + len(text) if found >= 0 else -1


def _after_comment(source: str, start: int) -> int:
    if not source.startswith("<!--", start):
        return _after(source, ">", start)
    if begun := _CONDITION.match(source, start) or _ABRUPT.match(source, start):
        return begun.end()
    end = _COMMENT_END.search(source, start + 4)
    return end.end() if end else -1


def _after_raw(source: str, name: str, start: int) -> int:
    if name == "plaintext":
        return -1
    ends = _RAW.get(name)
    if ends is None:
        return start
    end = ends.search(source, start)
    return end.start() if end else -1


def _read_tag(source: str, start: int) -> tuple[Tag | None, int]:
    """Return a tag and where what follows it begins; None: it has no end, and is none."""
    is_end = source[start + 1] == "/"
    place = start + (2 if is_end else 1)
    name = _NAME.match(source, place)
    place = name.end() if name else place
    attributes: dict[str, Value] = {}
    while True:
        between = _BETWEEN.match(source, place)
        place = between.end() if between else place
        if place >= len(source):
            return None, -1
        if source[place] == ">":
            return Tag(name[0].lower() if name else "", start, is_end, attributes), place + 1
        attribute = _ATTRIBUTE.match(source, place)
        found = attribute[0].lower() if attribute else ""
        place += len(found)
        value, place = _read_value(source, place)
        if place < 0:
            return None, -1
        if value is not None:
            attributes.setdefault(found, value)


def _read_value(source: str, start: int) -> tuple[Value | None, int]:
    """Return an attribute's value and where what follows it begins; -1: it has no end."""
    equals = _EQUALS.match(source, start)
    if equals is None:
        return None, start
    place = equals.end()
    quote = source[place : place + 1]
    if quote in ('"', "'"):
        end = source.find(quote, place + 1)
        return (Value(place + 1, end, decoded(source[place + 1 : end])), end + 1) if end >= 0 else (None, -1)
    unquoted = _UNQUOTED.match(source, place)
    end = unquoted.end() if unquoted else place
    return Value(place, end, decoded(source[place:end])), end


def _decoded_reference(found: re.Match[str], written: str) -> str:
    name, semicolon = found[1], found[2]
    if name is None:
        return html.unescape(found[0])
    if semicolon and f"{name};" in html5:
        return html5[f"{name};"]
    following = written[found.end() - len(semicolon) : found.end() - len(semicolon) + 1]
    return html5[name] + semicolon if name in html5 and following != "=" else found[0]
