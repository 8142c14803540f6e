"""Tell whether a JSON value names somebody, also where nobody knows which part of it is an identifier.

Each text counts in every kind of identifiers, and so do its words: rather once too often than not at all. What is not
found is an identifier that stands between other words and has spaces itself, such as a phone number in a sentence.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from uuid import UUID

from config.db.statements import fetch_all, fetch_one
from config.ids import parse_uuid
from contacts.identifiers import BUILT_IN_KINDS, Identification, normalize_all, normalize_identifier
from contacts.models import Identifier
from contacts.tombstones import erased_among

MAX_TEXTS: Final = 10_000
"""Different texts that one look-up takes: what has more is taken to name an erased person."""
_LONGEST_PHONE: Final = 50
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_BETWEEN: Final = re.compile(r"""[\s<>"'(),;:\[\]{}|=&?]+""")


@dataclass(frozen=True, slots=True)
class Mentions:
    """What may name somebody: any texts, and what is known to be identifiers."""

    texts: frozenset[str]
    identifiers: frozenset[Identification] = frozenset()

    def name(self, contact_ids: Collection[str], identifiers: Collection[Identification]) -> bool:
        """Tell whether they name somebody who has one of the ids or normalised identifiers."""
        if not self.identifiers.isdisjoint(identifiers):
            return True
        if any(text.lower() in contact_ids for text in self.texts):
            return True
        kinds = {kind for kind, _ in identifiers}
        return any(not identifications(text, kinds).isdisjoint(identifiers) for text in self.texts)


def mentions_in(
    value: Any, *, known: Sequence[tuple[str, Any]] = (), is_understood: bool = False
) -> Mentions:
    """Return what a JSON value says of people. `known`: its identifiers, as they are spelled.

    Of what `is_understood` numbers are no identifiers, unless they are `known` ones.
    """
    return Mentions(frozenset(_texts(value, not is_understood)), frozenset(normalize_all(known)))


def naming_erased(workspace_id: UUID, mentions: Sequence[Mentions]) -> list[bool]:
    """Tell of each whether it names a person who was erased; also of what is too much to be looked up."""
    identity_field, has_erased = fetch_one(
        "SELECT identity_field, EXISTS (SELECT FROM contacts_erasedidentifier WHERE workspace_id = %s)"
        " OR EXISTS (SELECT FROM contacts_erasure WHERE workspace_id = %s) FROM workspaces_workspace WHERE id = %s",
        [workspace_id, workspace_id, workspace_id],
    )
    if not has_erased:
        return [False] * len(mentions)
    looked_up = _within_limit(mentions)
    texts = frozenset(chain.from_iterable(each.texts for each in looked_up))
    kinds = {*BUILT_IN_KINDS, identity_field}
    spelled = {text: identifications(text, kinds) for text in texts}
    known = chain.from_iterable(each.identifiers for each in looked_up)
    erased = erased_among(workspace_id, {*chain.from_iterable(spelled.values()), *known})
    named = {text for text, identifiers in spelled.items() if not erased.isdisjoint(identifiers)}
    named |= _erased_ids(workspace_id, texts)
    decided = [
        not (named.isdisjoint(each.texts) and erased.isdisjoint(each.identifiers)) for each in looked_up
    ]
    return decided + [True] * (len(mentions) - len(looked_up))


def identifications(text: str, kinds: Collection[str]) -> set[Identification]:
    """Return the identifiers that a text may be."""
    return {
        (kind, value)
        for kind in kinds
        if kind != Identifier.PHONE or _may_be_phone(text)
        if (value := normalize_identifier(kind, text)) is not None
    }


def _may_be_phone(text: str) -> bool:
    """Tell cheaply what may be a number with its remark or in letters, for to read one takes long."""
    if len(text) > _LONGEST_PHONE or parse_uuid(text) is not None or _MOMENT.match(text):
        return False
    digits = sum(map(str.isdecimal, text))
    return digits > 0 and (digits >= sum(map(str.isalpha, text)) or not text[0].isalpha())


def _within_limit(mentions: Sequence[Mentions]) -> Sequence[Mentions]:
    count = 0
    for place, each in enumerate(mentions):
        count += len(each.texts)
        if count > MAX_TEXTS:
            return mentions[:place]
    return mentions


def _erased_ids(workspace_id: UUID, texts: Collection[str]) -> set[str]:
    """Return the texts that are ids of contacts who were erased."""
    by_id = {contact_id: text for text in texts if (contact_id := parse_uuid(text)) is not None}
    if not by_id:
        return set()
    rows = fetch_all(
        "SELECT unnest(contact_ids) FROM contacts_erasure WHERE workspace_id = %s AND contact_ids && %s::uuid[]",
        [workspace_id, list(by_id)],
    )
    return {by_id[contact_id] for (contact_id,) in rows if contact_id in by_id}


def texts_of(text: str) -> Iterator[str]:
    """Yield a text, and its words if it has several."""
    if text := text.strip():
        yield text
        words = _BETWEEN.split(text)
        yield from (word for word in words if word and len(words) > 1)


def _texts(value: Any, has_numbers: bool) -> Iterator[str]:
    """Yield all texts of a value, names of keys too, and the words of each."""
    match value:
        case str():
            yield from texts_of(value)
        case bool() | None:
            return
        case int() | float():
            if has_numbers:
                yield str(value)
        case dict():
            for name, item in value.items():
                yield from _texts(name, has_numbers)
                yield from _texts(item, has_numbers)
        case list() | tuple():
            for item in value:
                yield from _texts(item, has_numbers)
        case _:
            yield from _texts(str(value), has_numbers)
