"""Lists answer by what they show alone: no column, alias, order, page or look-up tells of anything else."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from tests.admin.tenants import MARK, UUID_TEXT, leaked, some, somebody
from tests.admin.test_every_page import REGISTERED, label, url_of

pytestmark = pytest.mark.usefixtures("empty_sidebar")

# What a query may start from, beside columns: what a list adds to its rows.
PATHS = [
    "contact__workspace__memberships__user__password",
    "workspace__memberships__user__password",
    "workspace__memberships__user__memberships__workspace__name",
    "points",
    "",
]


@pytest.fixture
def request_of(world, db, rf):
    def make(actor):
        request = rf.get("/")
        request.user = world.clients[actor].get("/admin/").wsgi_request.user
        request.session = {}
        return request

    return make


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_what_a_list_adds_to_its_rows_is_no_way_to_other_columns(world, db, request_of, model):
    client = world.clients["owner"]
    query = admin.site._registry[model].get_queryset(request_of("owner")).query
    names = [*query.annotations, *query._filtered_relations]
    for name in names:
        for path in PATHS:
            look_up = "__".join(one for one in (name, path, "startswith") if one)
            response = client.get(url_of(model, "changelist"), {look_up: "p"})
            assert response.status_code == 400, look_up


def test_contacts_are_no_way_to_passwords(world, db):
    """Show that there is such an addition, by the one that leads furthest."""
    lists = reverse("admin:contacts_contact_changelist")
    path = "own_score__contact__workspace__memberships__user__password__startswith"
    for guess in ("pbkdf2", "!", "x"):
        assert world.clients["viewer"].get(lists, {path: guess}).status_code == 400
    # A filter that the list offers leads no further than it says.
    path = "contact_tags__tag__workspace__memberships__user__password__startswith"
    assert world.clients["viewer"].get(lists, {path: "!"}).status_code == 400


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_each_filter_that_is_offered_can_be_used(world, db, model):
    client = world.clients["owner"]
    page = client.get(url_of(model, "changelist"))
    if page.status_code != 200:
        return
    for spec in page.context["cl"].filter_specs:
        for name in spec.expected_parameters():
            answer = client.get(url_of(model, "changelist"), {name: "1"})
            assert answer.status_code in (200, 302), name


@pytest.mark.parametrize("actor", ["viewer", "owner", "nobody"])
def test_no_model_is_a_way_to_choices_of_others(world, db, actor):
    """Ask for the choices of every key of every model, those that have no page among them."""
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.get_fields():
            if not hasattr(field, "get_limit_choices_to"):
                continue
            for term in some(["", MARK[:6], "e"], 1):
                asked = {
                    "app_label": model._meta.app_label,
                    "model_name": model._meta.model_name,
                    "field_name": field.name,
                    "term": term,
                }
                response = world.clients[actor].get("/admin/autocomplete/", asked)
                assert response.status_code in (200, 403, 404), asked
                assert not leaked(response, world), asked


@pytest.mark.parametrize("actor", ["viewer", "owner"])
def test_a_popup_tells_no_more_than_the_page(world, db, actor):
    client = world.clients[actor]
    for model in some(REGISTERED, 8):
        names = [field.attname for field in model._meta.concrete_fields]
        for to_field in some(names, 2):
            asked = {"_popup": "1", "_to_field": to_field}
            pages = [url_of(model, "changelist"), url_of(model, "add")]
            pages += [url_of(model, "change", row.pk) for row in world.rows[world.other.pk][model][:1]]
            for page in pages:
                response = client.get(page, asked)
                assert response.status_code in (200, 302, 400, 403, 404), (page, asked)
                assert not leaked(response, world), (page, asked)
                if world.others & set(UUID_TEXT.findall(page)):
                    assert response.status_code in (400, 404)


@pytest.mark.parametrize("actor", ["viewer", "owner"])
def test_no_order_page_or_way_back_shows_others(world, db, actor):
    client = world.clients[actor]
    other = world.other.pk
    queries = [
        *[{"o": f"{sign}{column}"} for sign in ("", "-") for column in (0, 1, 3, 99)],
        {"all": "", "workspace": str(other)},
        {"p": "2", "workspace": str(other)},
        {"_changelist_filters": f"workspace={other}"},
        {"_facets": "True", "workspace": str(other)},
        {"workspace": [str(world.own.pk), str(other)]},
    ]
    for model in some(REGISTERED, 10):
        for query in some(queries, 2):
            for page in ("changelist", "add"):
                response = client.get(url_of(model, page), query)
                assert not leaked(response, world, str(query)), (model, page, query)


def test_what_an_address_fills_in_names_nothing_of_others(world, db):
    """Open each page that adds a row with every key of it filled in by the address."""
    client = world.clients["owner"]
    for model in REGISTERED:
        filled = {
            field.name: str(rows[0].pk)
            for field in model._meta.concrete_fields
            if field.is_relation and (rows := world.rows[world.other.pk].get(field.related_model))
        }
        response = client.get(url_of(model, "add"), filled)
        assert not leaked(response, world, str(filled)), model


def test_who_is_in_no_workspace_finds_nothing_by_searching(world, db):
    client = somebody(None, "")
    for term in ("e", "contact", MARK[:6]):
        for more in ({}, {"extended": "1"}):
            assert not leaked(client.get("/admin/search/", {"s": term, **more}), world)
