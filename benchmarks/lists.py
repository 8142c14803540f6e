"""(e): every list of a small and of a big workspace, side by side: first page, middle and last.

Needs a HEADRACE_HOME (or DATABASE_URL) of its own, which it fills; what is filled already is measured again.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

LIMIT = 50
WARM_UP = 6
"""Unmeasured calls, in which the driver prepares every statement."""
SECONDS_PER_PAGE = 6.0
PERIOD_DAYS = 180
GOAL = 2.0
"""Most times as long as in the small workspace; about a millisecond is noise."""
NOISE_MS = 2.0


@dataclass(frozen=True)
class Space:
    """A filled workspace."""

    id: UUID
    key: str
    contacts: int
    events: int
    heavy_contact: UUID
    rare_tag: UUID
    common_tag: UUID

    def path(self, resource: str) -> str:
        return f"/api/workspaces/{self.id}/{resource}"


@dataclass(frozen=True)
class Listing:
    """A list of a workspace."""

    title: str
    path: str
    parameters: dict[str, Any]
    rows: int
    """Number of rows."""
    pages_by: str = "number"
    """`before`: the last id; `next`: what the answer says, if it does; `number`; `p`: the admin's number from 0."""
    bearer: str = ""


def main() -> None:
    """Fill both workspaces if needed, and print the time of each page and its ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lists", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--contacts", type=int, default=2_000_000)
    parser.add_argument("--only", default="", help="part of the titles to measure")
    options = parser.parse_args()
    django_setup()
    small, big = (
        filled(name, contacts, events)
        for name, contacts, events in (
            ("small", 10_000, 10_000),
            ("big", options.contacts, options.events),
        )
    )
    client = staff_client()
    print(f"{'':<52}{'small, ms':>11}{'big, ms':>11}{'ratio':>8}{'worst, ms':>11}")
    for small_listing, big_listing in zip(listings(small), listings(big), strict=True):
        if options.only in small_listing.title:
            for page in ("first", "middle", "last"):
                show(
                    f"{small_listing.title}, {page}",
                    *measured(client, small_listing, big_listing, page, options.rounds),
                )


def django_setup() -> None:
    """Make this process one of Headrace's, with the tables in place."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def staff_client() -> Any:
    """Return a client that is signed in to the admin; the API's requests bring their key."""
    from django.test import Client

    from workspaces.models import User

    user, _ = User.objects.get_or_create(
        username="lists", defaults={"is_staff": True, "is_superuser": True, "email": "lists@example.test"}
    )
    client = Client()
    client.force_login(user)
    return client


def listings(space: Space) -> Iterator[Listing]:
    """Yield every list."""
    yield from event_listings(space)
    yield from contact_listings(space)
    yield from leadpush_listings(space)
    yield from admin_listings(space)


def event_listings(space: Space) -> Iterator[Listing]:
    """Yield the native lists of events, by each filter and by both."""
    heavy = {"contactId": str(space.heavy_contact)}
    for title, parameters, rows in (
        ("all", {}, space.events),
        ("type, common", {"type": "page_view"}, space.events * 6 // 10),
        ("type, rare", {"type": "rare"}, 100),
        ("type, unknown", {"type": "never"}, 0),
        ("contactId, heavy", heavy, space.events // 100),
        ("contactId and common type", {**heavy, "type": "page_view"}, space.events * 6 // 1000),
        ("contactId and rare type", {**heavy, "type": "rare"}, 1),
    ):
        yield Listing(f"events: {title}", space.path("events"), parameters, rows, "before", space.key)


def contact_listings(space: Space) -> Iterator[Listing]:
    """Yield the native lists of contacts, by each sort, tag and search."""
    orders: list[tuple[str, dict[str, Any], int]] = [
        (f"{sort} {order}", {"sortBy": sort, "sortOrder": order}, space.contacts)
        for sort in ("createdAt", "updatedAt", "firstName", "lastName", "email", "score")
        for order in ("asc", "desc")
    ]
    full_name, *_ = names_of(space, 1)
    narrowed: list[tuple[str, dict[str, Any], int]] = [
        ("tagId, common", {"tagId": str(space.common_tag)}, space.contacts // 2),
        ("tagId, rare", {"tagId": str(space.rare_tag)}, 100),
        ("tagId, rare, by email", {"tagId": str(space.rare_tag), "sortBy": "email"}, 100),
        ("search an e-mail", {"search": f"person.{space.contacts // 2}@"}, 1),
        ("search a common beginning", {"search": "person"}, space.contacts * 95 // 100),
        ("search a first and last name", {"search": " ".join(full_name)}, 1),
        ("search nobody", {"search": "nobodyisso"}, 0),
        (
            "search a common one, by lastName",
            {"search": "person", "sortBy": "lastName"},
            space.contacts * 95 // 100,
        ),
    ]
    for title, parameters, rows in orders + narrowed:
        yield Listing(f"contacts: {title}", space.path("contacts"), parameters, rows, "next", space.key)


def leadpush_listings(space: Space) -> Iterator[Listing]:
    """Yield the lists of the one other format that has any; it pages by number."""
    base = f"/v1/workspaces/{space.id}/contacts"
    events = f"{base}/{space.heavy_contact}/events"
    of_contact = space.events // 100
    newest = {"sorting[]": '{"id":"created_at","desc":true}'}
    yield Listing("leadpush contacts", base, {"per_page": LIMIT}, space.contacts, "number", space.key)
    for title, parameters, rows in (
        ("oldest first", {}, of_contact),
        ("newest first", newest, of_contact),
        ("search a common name", {"search": "VIEW"}, of_contact * 6 // 10),
        ("search an unknown name", {"search": "never"}, 0),
    ):
        parameters = {"per_page": LIMIT, **parameters}
        yield Listing(
            f"leadpush heavy contact's events, {title}", events, parameters, rows, "number", space.key
        )


def admin_listings(space: Space) -> Iterator[Listing]:
    """Yield the admin's lists of contacts and events; none has more than 200 pages."""
    first, last = next(iter(names_of(space, 1)))
    for title, page, parameters, rows in (
        ("contacts", "contacts_contact", {}, 10_000),
        ("contacts, an e-mail", "contacts_contact", {"q": f"person.{space.contacts // 2}@"}, 1),
        ("contacts, a name", "contacts_contact", {"q": f"{first} {last}"}, 1),
        ("contacts, a tag", "contacts_contact", {"contact_tags__tag__id__exact": str(space.rare_tag)}, 100),
        ("identifiers", "contacts_identifier", {}, 10_000),
        ("events", "events_event", {}, 10_000),
        ("events, a common name", "events_event", {"name": "page_view"}, 5_900),
        ("events, a rare name", "events_event", {"name": "rare"}, 100),
        ("events, the last 7 days", "events_event", {"days": 7}, 350),
        ("events, 7 days, a common name", "events_event", {"days": 7, "name": "page_view"}, 200),
        ("events, a contact", "events_event", {"q": str(space.heavy_contact)}, space.events // 100),
    ):
        yield Listing(
            f"admin {title}", f"/admin/{page.replace('_', '/')}/", {"workspace": str(space.id), **parameters},
            min(rows, 10_000), "p",
        )  # fmt: skip


def measured(
    client: Any, small: Listing, big: Listing, page: str, rounds: int
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of a page in both workspaces, in turns."""
    queries = [page_of(client, listing, page) for listing in (small, big)]
    times: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    for turn in range(WARM_UP + rounds):
        for listing, query, taken in zip((small, big), queries, times, strict=True):
            taken.append(request_ms(client, listing, query))
        if time.perf_counter() - started > SECONDS_PER_PAGE and turn >= 2:
            break
    warm = WARM_UP if len(times[0]) > WARM_UP else 1
    return times[0][warm:], times[1][warm:]


def page_of(client: Any, listing: Listing, page: str) -> dict[str, Any]:
    """Return the parameters of the first, the middle or the last page."""
    limit = {"limit": LIMIT} if listing.pages_by in ("before", "next") else {}
    query = {**listing.parameters, **limit}
    number = {"first": 0, "middle": listing.rows // 2 // LIMIT, "last": max(listing.rows - 1, 0) // LIMIT}[
        page
    ]
    if number == 0:
        return query
    if listing.pages_by == "before":
        return {**query, "before": str(event_before(listing, number))}
    if listing.pages_by == "p":
        return {**query, "p": number + 1}
    if listing.pages_by == "next":
        before = answer(client, listing, {**query, "page": number}).json()["pagination"]
        if before["next"]:
            return {**query, "after": before["next"]}
    return {**query, "page": number + 1}


def event_before(listing: Listing, number: int) -> UUID:
    """Return the key of an event page: some moment for the middle, the 50th oldest for the last."""
    from events.models import Event

    rows = (
        Event.objects.filter(workspace_id=listing.path.split("/")[3])
        .order_by("id")
        .values_list("id", flat=True)
    )
    if "type" in listing.parameters:
        rows = rows.filter(name=listing.parameters["type"])
    if "contactId" in listing.parameters:
        rows = rows.filter(contact_id=listing.parameters["contactId"])
    return rows[LIMIT // 2] if number * LIMIT > listing.rows * 3 // 4 else rows[max(listing.rows // 2, 0)]


def request_ms(client: Any, listing: Listing, query: dict[str, Any]) -> float:
    """Return how long a request takes."""
    started = time.perf_counter()
    answer(client, listing, query)
    return (time.perf_counter() - started) * 1000


def answer(client: Any, listing: Listing, query: dict[str, Any]) -> Any:
    """Return the answer, which must be a good one."""
    headers = {"HTTP_AUTHORIZATION": f"Bearer {listing.bearer}"} if listing.bearer else {}
    found = client.get(f"{listing.path}?{urlencode(query)}", **headers)
    assert found.status_code == 200, (listing, query, found.status_code, found.content[:500])
    return found


def show(title: str, small: list[float], big: list[float]) -> None:
    """Print the medians, their ratio and the slowest call in the big workspace."""
    small_ms, big_ms = statistics.median(small), statistics.median(big)
    slow = "   slower" if big_ms > small_ms * GOAL + NOISE_MS else ""
    print(
        f"{title:<52}{small_ms:>11.1f}{big_ms:>11.1f}{big_ms / small_ms:>8.2f}{max(big):>11.1f}{slow}",
        flush=True,
    )


def filled(name: str, contacts: int, events: int) -> Space:
    """Return a workspace with that many rows, made in SQL unless it is there already."""
    from django.db import connection, transaction

    from contacts.models import Tag
    from workspaces.models import ApiKey, Workspace
    from workspaces.services import create_workspace, issue_api_key

    workspace = Workspace.objects.filter(name=name).first()
    if workspace is None:
        with transaction.atomic(), connection.cursor() as cursor:
            workspace = create_workspace(name)
            fill(cursor, workspace.id, contacts, events)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    ApiKey.objects.filter(workspace=workspace).delete()
    tags = dict(Tag.objects.filter(workspace=workspace).values_list("name", "id"))
    return Space(
        workspace.id,
        issue_api_key(workspace.id, "lists").secret,
        contacts,
        events,
        contact_id(workspace.id, contacts, 1),
        tags["rare"],
        tags["common"],
    )


def fill(cursor: Any, workspace_id: UUID, contacts: int, events: int) -> None:
    """Insert contacts and events whose ids are spread over the period; the stream's indexes are made last."""
    from datetime import timedelta

    from config import clock
    from contacts.models import Tag
    from events.models import EventDefinition
    from events.stream.partitions import ensure_partitions

    now = clock.now()
    ensure_partitions(now - timedelta(days=day) for day in range(PERIOD_DAYS + 1))
    tags = [Tag.objects.create(workspace_id=workspace_id, name=name).id for name in ("common", "rare")]
    for name in ("page_view", "purchase", "signup", "rare"):
        EventDefinition.objects.create(workspace_id=workspace_id, name=name, is_declared=False)
    values = {
        "workspace": workspace_id,
        "contacts": contacts,
        "events": events,
        "start": int((now - timedelta(days=PERIOD_DAYS)).timestamp() * 1000),
        "span": PERIOD_DAYS * 86_400_000 - 60_000,
        "common": tags[0],
        "rare": tags[1],
    }
    # Signals, effects and foreign keys have nothing to do with how a list is read.
    cursor.execute("SET LOCAL session_replication_role = replica; SET LOCAL maintenance_work_mem = '512MB'")
    for statement in CONTACT_ROWS:
        cursor.execute(_inlined(statement, values))
    indexes = secondary_indexes(cursor) if events > 1_000_000 else []
    for index, _ in indexes:
        cursor.execute(f"DROP INDEX {index}")
    cursor.execute(_inlined(EVENT_ROWS, values))
    for _, definition in indexes:
        cursor.execute(definition)


def secondary_indexes(cursor: Any) -> list[tuple[str, str]]:
    """Return the stream's indexes besides its primary key, each with the statement that makes it."""
    cursor.execute(
        "SELECT indexrelid::regclass::text, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')"
        " FROM pg_index WHERE indrelid = 'events_event'::regclass AND NOT indisprimary"
    )
    found: list[tuple[str, str]] = cursor.fetchall()
    return found


def contact_id(workspace_id: UUID, contacts: int, place: int) -> UUID:
    """Return the id of a workspace's contact by its place."""
    from contacts.models import Contact

    return (
        Contact.objects.filter(workspace_id=workspace_id)
        .order_by("id")
        .values_list("id", flat=True)[place - 1]
    )


def names_of(space: Space, place: int) -> Iterator[tuple[str, str]]:
    """Yield a contact's first and last name."""
    from contacts.models import Contact

    contact = Contact.objects.get(id=contact_id(space.id, space.contacts, place))
    yield contact.first_name, contact.last_name


def _inlined(statement: str, values: dict[str, Any]) -> str:
    # Numbers and ids only, none from outside; as parameters each would need its type.
    for name, value in values.items():
        statement = statement.replace(
            f":{name}:", f"'{value}'::uuid" if isinstance(value, UUID) else str(value)
        )
    return statement


def _id(place: str, count: str, salt: str) -> str:
    """Return the SQL for the UUIDv7 of the row at a place: its time by the place, the rest by a hash."""
    digest = f"md5('{salt}' || :workspace:::text || {place})"
    return (
        f"(lpad(to_hex(:start: + ({place})::bigint * :span: / {count}), 12, '0') || '7' || left({digest}, 3)"
        f" || '8' || substr({digest}, 4, 15))::uuid"
    )


def _moment(place: str, count: str) -> str:
    return f"to_timestamp((:start: + ({place})::bigint * :span: / {count}) / 1000.0)"


def _letters(place: str, salt: str, different: int) -> str:
    """Return the SQL for one of so many words of seven letters."""
    return (
        f"initcap(translate(left(md5('{salt}' || hashint8({place})::bigint % {different}), 7),"
        " '0123456789', 'ghijklmnop'))"
    )


_CONTACT = _id("n", ":contacts:", "c")
_EACH = "FROM generate_series(1, :contacts:) AS n"
CONTACT_ROWS = (
    "INSERT INTO contacts_contact (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)"
    f" SELECT {_CONTACT}, :workspace:, {_letters('n', 'f', 1000)}, {_letters('n + 7', 'l', 50000)},"
    ' \'{"plan": "pro", "city": "Ghent"}\','
    f" {_moment('n', ':contacts:')}, {_moment('abs(hashint4(n)) % :contacts:', ':contacts:')} {_EACH}",
    "INSERT INTO contacts_identifier (id, workspace_id, contact_id, kind, value, is_primary, created_at)"
    f" SELECT {_id('n', ':contacts:', 'e')}, :workspace:, {_CONTACT}, 'email', 'person.' || n || '@example.test',"
    f" true, {_moment('n', ':contacts:')} {_EACH} WHERE n % 20 > 0",
    "INSERT INTO contacts_identifier (id, workspace_id, contact_id, kind, value, is_primary, created_at)"
    f" SELECT {_id('n', ':contacts:', 'p')}, :workspace:, {_CONTACT}, 'phone', '+1202' || lpad(n::text, 7, '0'),"
    f" true, {_moment('n', ':contacts:')} {_EACH} WHERE n % 3 = 0",
    "INSERT INTO contacts_contacttag (id, workspace_id, contact_id, tag_id, created_at)"
    f" SELECT {_id('n', ':contacts:', 't')}, :workspace:, {_CONTACT}, :common:, now() {_EACH} WHERE n % 2 = 0",
    "INSERT INTO contacts_contacttag (id, workspace_id, contact_id, tag_id, created_at)"
    f" SELECT {_id('n', ':contacts:', 'r')}, :workspace:, {_CONTACT}, :rare:, now() {_EACH}"
    " WHERE n % (:contacts: / 100) = 0",
    "INSERT INTO contacts_contactscore (id, workspace_id, contact_id, points, updated_at)"
    f" SELECT {_id('n', ':contacts:', 's')}, :workspace:, {_CONTACT}, abs(hashint4(n)) % 500, now() {_EACH}"
    " WHERE n % 2 = 0",
)
# One event in a hundred is the first contact's, three have none.
EVENT_ROWS = f"""
INSERT INTO events_event
    (id, workspace_id, contact_id, name, properties, context, occurred_at, received_at, source, message_id, depth)
SELECT
    {_id("n", ":events:", "v")}, :workspace:,
    CASE n % 100
        WHEN 0 THEN {_id("1", ":contacts:", "c")}
        WHEN 1 THEN NULL WHEN 2 THEN NULL WHEN 3 THEN NULL
        ELSE {_id("(1 + abs(hashint4(n)) % :contacts:)", ":contacts:", "c")}
    END,
    CASE WHEN n % (:events: / 100) = 50 THEN 'rare'
        WHEN (n / 100 + n) % 10 < 6 THEN 'page_view' WHEN (n / 100 + n) % 10 < 8 THEN 'purchase' ELSE 'signup'
    END,
    '{{"amount": 99, "currency": "USD", "page": "/pricing"}}', '{{}}',
    {_moment("n", ":events:")}, {_moment("n", ":events:")}, 'api', '', 0
FROM generate_series(1, :events:) AS n
"""


if __name__ == "__main__":
    main()
