"""Pages of contacts: complete in every order, by number and by key, and read from an index."""

import itertools
from datetime import timedelta

import pytest
from django.db import connection

from config import clock
from contacts.api import paging
from contacts.models import Contact, ContactScore, ContactTag, Identifier, Tag
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.plans import rows_read
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

SORTS = ["createdAt", "updatedAt", "firstName", "lastName", "email", "score"]
ORDERS = ["asc", "desc"]
MANY = 3_000
READ_AT_MOST = 60
"""Rows that a statement may read for a page of five: the page itself, what hangs on it, a few left out."""


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def fill(workspace, count):
    """Make contacts, of whom one in three has no address and every other one no score."""
    start = clock.now() - timedelta(days=1)
    contacts = Contact.objects.bulk_create(
        Contact(
            workspace=workspace,
            first_name=f"First {n % 7}",
            last_name=f"Last {n}",
            updated_at=start + timedelta(seconds=n // 5),
        )
        for n in range(count)
    )
    Identifier.objects.bulk_create(
        Identifier(workspace=workspace, contact=one, kind="email", value=f"p{n}@mill.test", is_primary=True)
        for n, one in enumerate(contacts)
        if n % 3
    )
    ContactScore.objects.bulk_create(
        ContactScore(workspace=workspace, contact=one, points=n % 4)
        for n, one in enumerate(contacts)
        if n % 2
    )
    return contacts


def pages_by_key(api, **parameters):
    after = {}
    while True:
        answer = api.get("contacts", **parameters, **after).json()
        yield [row["id"] for row in answer["data"]]
        if answer["pagination"]["next"] is None:
            return
        after = {"after": answer["pagination"]["next"]}


def pages_by_number(api, **parameters):
    for page in itertools.count(1):
        answer = api.get("contacts", **parameters, page=page).json()
        yield [row["id"] for row in answer["data"]]
        if answer["pagination"]["next"] is None:
            return


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sort", SORTS)
def test_pages_hold_everybody_once_whatever_is_equal_or_missing(api, workspace, sort, order):
    ids = {str(one.id) for one in fill(workspace, 25)}
    for limit in (3, 8, 25):
        asked = {"sortBy": sort, "sortOrder": order, "limit": limit}
        by_key = list(itertools.chain(*pages_by_key(api, **asked)))
        by_number = list(itertools.chain(*pages_by_number(api, **asked)))

        assert by_key == by_number
        assert len(by_key) == 25
        assert set(by_key) == ids


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sort", SORTS)
def test_contacts_that_come_while_pages_are_turned_shift_nobody(api, workspace, sort, order):
    ids = {str(one.id) for one in fill(workspace, 20)}
    seen = []
    for turn, page in enumerate(pages_by_key(api, sortBy=sort, sortOrder=order, limit=4)):
        seen += page
        for first in ("Aaron", "Zoe"):
            new = a_contact(workspace, f"{first}{turn}@mill.test", first_name=first, last_name=first)
            ContactScore.objects.create(workspace=workspace, contact=new, points=len(first) - 4)
        if turn > 20:  # newest last: each page makes another
            break

    assert len(seen) == len(set(seen))
    assert ids <= set(seen)


def test_a_contact_that_is_gone_still_marks_the_place(api, workspace):
    fill(workspace, 6)
    for sort in SORTS:
        first = api.get("contacts", sortBy=sort, sortOrder="asc", limit=2).json()
        whole = [row["id"] for row in api.get("contacts", sortBy=sort, sortOrder="asc").json()["data"]]
        Contact.objects.get(id=whole[1]).delete()
        then = api.get("contacts", sortBy=sort, sortOrder="asc", after=first["pagination"]["next"]).json()
        assert [row["id"] for row in then["data"]] == whole[2:]
        a_contact(workspace, f"{sort}@mill.test")


def test_names_are_sorted_in_any_case(api, workspace):
    for name in ("beta", "Alpha", "Gamma", "alpine"):
        a_contact(workspace, first_name=name)

    found = api.get("contacts", sortBy="firstName", sortOrder="asc").json()["data"]

    assert [row["firstName"] for row in found] == ["Alpha", "alpine", "beta", "Gamma"]


@pytest.mark.parametrize("sort", SORTS[1:])
def test_a_key_of_another_order_is_refused(api, workspace, sort):
    contacts = fill(workspace, 9)
    other = SORTS[1] if sort != SORTS[1] else SORTS[2]
    foreign = api.get("contacts", sortBy=other, limit=1).json()["pagination"]["next"]
    own = api.get("contacts", sortBy=sort, limit=1).json()["pagination"]["next"]

    for key in (foreign, str(contacts[0].id), own[:-3], own[3:], "x", "\x00", "W10", "é", "bnVsbA"):
        answer = api.get("contacts", sortBy=sort, after=key)
        assert answer.status_code == 400, key
        assert list(answer.json()["details"]) == ["after"]


@pytest.mark.parametrize("value", [None, "x", "NaN", "1e400", "a\x00", "\ud800", "9" * 400, 5, [], {}])
@pytest.mark.parametrize("sort", SORTS[1:])
def test_a_forged_key_never_breaks_the_list(api, workspace, sort, value):
    (contact,) = fill(workspace, 1)
    forged = paging.written_key(sort, value, str(contact.id))

    assert api.get("contacts", sortBy=sort, after=forged).status_code in (200, 400)


def test_every_order_is_read_from_an_index(api, workspace, monkeypatch):
    monkeypatch.setattr(paging, "EXACT_TOTAL", 10)
    fill(workspace, MANY)
    _analyze()
    for sort, order in itertools.product(SORTS, ORDERS):
        asked = {"sortBy": sort, "sortOrder": order, "limit": 5}
        middle = api.get("contacts", **asked, page=MANY // 25).json()["pagination"]["next"]
        for after in ({}, {"after": middle}):
            _assert_little_is_read(api, **asked, **after)


def test_a_tag_and_a_search_are_read_from_an_index(api, workspace, monkeypatch):
    monkeypatch.setattr(paging, "EXACT_TOTAL", 10)
    contacts = fill(workspace, MANY)
    everybody, few = (Tag.objects.create(workspace=workspace, name=name) for name in ("everybody", "few"))
    ContactTag.objects.bulk_create(
        ContactTag(workspace=workspace, contact=one, tag=tag)
        for tag, tagged in ((everybody, contacts), (few, contacts[1500:1510]))
        for one in tagged
    )
    _analyze()
    for asked in (
        {"tagId": everybody.id},
        {"tagId": everybody.id, "after": contacts[MANY // 2].id},
        {"tagId": few.id},
        {"tagId": few.id, "after": contacts[1505].id},
        {"search": "1234@mi"},
        {"search": "ast 1234"},
        {"search": "nobody"},
        {"search": "mill"},
        {"search": "nobody", "sortBy": "lastName"},
    ):
        _assert_little_is_read(api, limit=5, **asked)


@pytest.mark.parametrize(
    "text",
    [
        "Ann@Straße.test",
        "@STRAẞE",
        "n@straße.te",
        '"ann"@xn--strae-oqa.test',
        "+49 (0)30 901820",
        "0049 30/901820",
        "ann@",
        "901820",
    ],
)
def test_search_finds_an_address_however_it_is_spelled(api, workspace, text):
    contact = a_contact(workspace, "ann@straße.test", identifiers=(("phone", "+4930901820"),))
    a_contact(workspace, "bob@strasse.test")
    assert [row["id"] for row in api.get("contacts", search=text).json()["data"]] == [str(contact.id)]


@pytest.mark.parametrize(
    "text",
    [
        "an", "ann", "ANN", "nna", "a", "a%", "%", "_", "n_a", "\\", "é", "ÉLO", "élo", "élodie van", "van élo",
        "der berg", "@mill", "mill ann", "ß", "straß", "strass", "'", "o'b", "zzz", "zz", "+32", "🙂",
        "🙂🙂🙂", "ı", "İst",
    ],
)  # fmt: skip
def test_search_finds_every_part(api, workspace, text):
    """The index of parts finds what reading every contact would."""
    people = [
        ("Anna", "van der Berg", "anna@mill.test"),
        ("Joanna", "O'Brien", "JO_ANNA%@mill.test"),
        ("Élodie", "Vandenberg", "elodie@mill.test"),
        ("Straße", "ISTANBUL", '"n\\\\a"@mill.test'),
        ("🙂🙂🙂", "An", "+x@zz.test"),
        ("", "", "plain@mill.test"),
    ]
    rows = {
        str(a_contact(workspace, email, first_name=first, last_name=last).id): (first, last, email.lower())
        for first, last, email in people
    }
    stranger = WorkspaceFactory()
    for first, last, email in people:
        a_contact(stranger, email, first_name=first, last_name=last)

    found = {row["id"] for row in api.get("contacts", search=text).json()["data"]}

    assert found == {
        contact_id
        for contact_id, values in rows.items()
        if all(any(_upper(word) in _upper(value) for value in values) for word in text.split())
    }


def test_a_deep_page_of_a_frequent_word_is_the_same_page(api, workspace, monkeypatch):
    fill(workspace, 60)
    _analyze()
    asked = {"search": "mill", "limit": 5, "page": 4}
    read_on = api.get("contacts", **asked).json()
    monkeypatch.setattr("contacts.api.filters._DEEP", 10)

    assert api.get("contacts", **asked).json() == read_on
    assert len(read_on["data"]) == 5


def _upper(text):
    with connection.cursor() as cursor:
        cursor.execute("SELECT upper(%s::text)", [text])
        return cursor.fetchone()[0]


def _analyze():
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _assert_little_is_read(api, **parameters):
    for sql, rows in rows_read(lambda: api.get("contacts", **parameters)).items():
        assert rows <= READ_AT_MOST, f"{parameters}: {rows} rows by {sql}"
