"""No statement has more parameters as there are more rows to ask for."""

from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F, Value
from django.test.utils import CaptureQueriesContext

from config.db.lookups import MOST_PARAMETERS
from contacts.models import Contact, Identifier
from events.models import Event
from tests.contacts.factories import a_contact
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

MANY = 70_000


@pytest.fixture
def contact():
    return a_contact(Workspace.objects.create(name="Acme"), "jane@example.test")


@pytest.mark.parametrize("number", [1, MOST_PARAMETERS, MOST_PARAMETERS + 1, MANY])
def test_a_list_of_any_length_is_looked_up(contact, number):
    ids = [contact.id, *(uuid4() for _ in range(number - 1))]
    assert Contact.objects.filter(id__in=ids).get() == contact
    assert Identifier.objects.filter(contact__in=ids).get().value == "jane@example.test"
    assert not Contact.objects.exclude(id__in=ids).exists()
    assert list(Contact.objects.filter(id__in=Contact.objects.filter(id__in=ids))) == [contact]


def test_values_of_every_type_are_looked_up(contact):
    texts = ["jane@example.test", *map(str, range(MANY))]
    assert Identifier.objects.filter(value__in=texts).count() == 1
    moments = [contact.created_at] * (MOST_PARAMETERS + 1) + [None]
    assert Contact.objects.filter(created_at__in=moments).count() == 1
    assert Event.objects.filter(depth__in=range(30_000)).count() == Event.objects.count()


def test_a_list_may_name_columns_and_values_of_the_database(contact):
    ids = [uuid4() for _ in range(MOST_PARAMETERS + 1)]
    assert Contact.objects.filter(id__in=[F("id"), *ids]).get() == contact
    assert Contact.objects.filter(id__in=[*ids, Value(contact.id)]).get() == contact
    assert not Contact.objects.exclude(id__in=[F("id"), *ids]).exists()


def test_a_long_list_is_one_parameter(contact):
    with CaptureQueriesContext(connection) as captured:
        list(Contact.objects.filter(id__in=[uuid4() for _ in range(MOST_PARAMETERS + 1)]))
    assert " = ANY(" in captured[0]["sql"]
    assert " IN (" not in captured[0]["sql"]
