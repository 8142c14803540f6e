"""Members of staff see and change nothing but what their role lets them, in their own workspaces."""

import re
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

from config import clock
from tests.admin.tenants import (
    BEGINNING,
    MARK,
    UUID_TEXT,
    addresses,
    checksums,
    leaked,
    routes,
    some,
    somebody,
)
from tests.admin.test_every_page import REGISTERED, label, url_of
from workspaces.models import AuditEntry, TokenFamily, User, Workspace
from workspaces.staff.filters import WorkspaceFilter

_LINK = re.compile(r'href="(/admin/[^"]*)"')
ACTORS = ["viewer", "owner", "nobody"]


@pytest.fixture(params=ACTORS)
def actor(request, world, db):
    return request.param


# Reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_a_superuser_sees_the_others_rows(world, db, model):
    """Show that the other tests of this file would find what is told."""
    if admin.site._registry[model].resource is None:
        return
    query = {}
    if WorkspaceFilter in admin.site._registry[model].list_filter:
        query = {"workspace": str(world.other.pk)}
    listed = world.clients["superuser"].get(url_of(model, "changelist"), query)
    assert leaked(listed, world, str(query))


def test_what_is_for_superusers_is_there_for_nobody_else(world, actor):
    client = world.clients[actor]
    user = User.objects.filter(memberships__workspace=world.own).first()
    entry = AuditEntry.objects.filter(workspace=world.own).first()
    family = TokenFamily.objects.create(user=user, refresh_id="x", expires_at=clock.now())
    rows = {AuditEntry: entry, TokenFamily: family, Group: Group.objects.create(name="All")}
    for model, model_admin in admin.site._registry.items():
        if model_admin.resource is not None:
            continue
        pages = [url_of(model, "changelist"), url_of(model, "add")]
        if model in rows:
            pages += [url_of(model, page, rows[model].pk) for page in ("change", "history", "delete")]
            assert world.clients["superuser"].get(pages[2]).status_code == 200
        for page in pages:
            assert client.get(page).status_code in (403, 404), page


def test_nobody_else_is_told_of_a_row(world, actor):
    client = world.clients[actor]
    told = {}
    for address in some([one for _, one in addresses(world, world.other)], 20):
        for response in (client.get(address), client.post(address, {"post": "yes"})):
            if response.status_code not in (404, 405) or leaked(response, world, address):
                told[address] = (response.request["REQUEST_METHOD"], response.status_code)
    assert not told


def test_lists_show_none_of_the_others_rows(world, actor):
    client = world.clients[actor]
    for model in some(REGISTERED, 10):
        address = url_of(model, "changelist")
        # A few models count their rows, so one's number is another's too.
        others = {row.pk for row in world.rows[world.other.pk].get(model, ())}
        narrowings = [
            {},
            {"workspace": str(world.other.pk)},
            *[{"q": text} for text in (BEGINNING, _first(world, model))],
            *_filters(world, client, address),
        ]
        for query in some(narrowings, 1):
            response = client.get(address, query)
            assert not leaked(response, world, str(query)), (address, query)
            if response.status_code == 200:
                rows = response.context["cl"].result_list
                assert not {row.pk for row in rows} & others, (address, query)


def test_pages_of_the_own_rows_tell_nothing_of_others(world, actor):
    client = world.clients[actor]
    own = [address for _, address in addresses(world, world.own)]
    own += [route for _, route in routes() if "<" not in route] + ["/admin/", "/admin/search/?s=e"]
    opened = 0
    for address in some(own, 15):
        response = client.get(address)
        assert not leaked(response, world), address
        opened += response.status_code == 200
    # Nobody's own pages are the first one, and the search for pages.
    assert opened <= 2 if actor == "nobody" else opened


@pytest.mark.parametrize("role", ["viewer", "editor", "owner"])
def test_no_page_offers_what_is_refused(world, db, role):
    """Follow each link of pages of the own rows: there is something, and it may be seen."""
    client = somebody(world.own, role)
    own = [url_of(model, "changelist") for model in REGISTERED]
    own += [url_of(model, "change", rows[0].pk) for model, rows in world.rows[world.own.pk].items() if rows]
    page_of, refused = {}, {}
    for address in ["/admin/", *some(own, 10)]:
        response = client.get(address)
        if response.status_code == 200:
            page_of |= {unescape(link).partition("#")[0]: address for link in _LINK.findall(response.text)}
    links = sorted(link for link in page_of if not _is_of_what_is_made_up(link, world))
    # Each once, for the menu's are on every page.
    for link in some(links, 60):
        if (status := client.get(link).status_code) not in (200, 302):
            refused[page_of[link], link] = status
    assert links
    assert not refused


def _is_of_what_is_made_up(link, world):
    """Return whether a link is to a row that is only named, as by the ids of no rows that generic rows have."""
    named = set(UUID_TEXT.findall(link))
    return not named <= {str(row.pk) for rows in world.rows[world.own.pk].values() for row in rows} | {
        str(world.own.pk)
    }


def test_choices_are_ones_own(world, actor):
    client = world.clients[actor]
    for model in some(REGISTERED, 30):
        for field in model._meta.concrete_fields:
            if not field.is_relation:
                continue
            if field.related_model not in world.rows[world.other.pk]:
                continue
            for term in some(["", BEGINNING, _first(world, field.related_model)], 1):
                asked = {
                    "app_label": model._meta.app_label,
                    "model_name": model._meta.model_name,
                    "field_name": field.name,
                    "term": term,
                }
                response = client.get("/admin/autocomplete/", asked)
                assert not leaked(response, world), asked
                assert response.status_code in (200, 403, 404)


def test_no_column_answers_guesses(world, actor):
    """Ask what begins with what, of rows and of what they point to: every answer is a refusal or of own rows."""
    client = world.clients[actor]
    for model in some(REGISTERED, 10):
        filters = admin.site._registry[model].list_filter
        offered = {one[0] if isinstance(one, tuple) else one for one in filters}
        guesses = [
            f"{field.name}__{end}"
            for field in model._meta.get_fields()
            for end in (
                ["startswith", "gte"] if not field.is_relation else ["name__startswith", "workspace__exact"]
            )
        ]
        guesses += ["contact__identifiers__value__startswith", "workspace__name__startswith", "pk__gte"]
        for look_up in some([one for one in guesses if one.split("__")[0] not in offered], 2):
            response = client.get(url_of(model, "changelist"), {look_up: BEGINNING})
            assert response.status_code in (302, 400, 403), (model, look_up, response.status_code)


def test_a_way_out_of_the_admin_tells_nothing(world, actor):
    for model, rows in world.rows[world.other.pk].items():
        for row in rows[:1]:
            kind = ContentType.objects.get_for_model(model).pk
            assert world.clients[actor].get(f"/admin/r/{kind}/{row.pk}/").status_code == 404


def _first(world, model):
    rows = world.rows[world.other.pk].get(model)
    return str(rows[0].pk) if rows else BEGINNING


def _filters(world, client, address):
    """Return each filter of a list set to what the other tenant has."""
    response = client.get(address)
    if response.status_code != 200:
        return []
    names = [
        getattr(spec, "lookup_kwarg", None) or spec.parameter_name
        for spec in response.context["cl"].filter_specs
    ]
    found = []
    for name in names:
        models_named = [model for model in REGISTERED if model._meta.model_name in name.split("__")]
        found.append({name: _first(world, models_named[-1]) if models_named else BEGINNING})
    return found


# Writing -----------------------------------------------------------------------------------------------------


def test_a_viewer_changes_nothing(world, db):
    client = world.clients["viewer"]
    before = checksums()
    with transaction.atomic():
        for address in some([one for _, one in addresses(world, world.own)], 20):
            response = client.get(address)
            body = _as_shown(response) if response.status_code == 200 else {}
            client.post(
                address, {**body, "post": "yes", "send": "yes", "status_change": "archive", "change": "add"}
            )
        for model, rows in some(list(world.rows[world.own.pk].items()), 6):
            client.post(url_of(model, "add"), _forged(client, model, rows, {}))
            for name, _ in _actions(model):
                chosen = {"action": name, "_selected_action": [str(row.pk) for row in rows], "post": "yes"}
                for more in some([{}, {"select_across": "1"}], 1):
                    client.post(url_of(model, "changelist"), {**chosen, **more})
        assert checksums() == before


def test_a_member_changes_no_others_rows(world, actor):
    client = world.clients[actor]
    before = checksums(world.other)
    with transaction.atomic():
        for address in some([one for _, one in addresses(world, world.other)], 20):
            client.post(address, {"post": "yes", "send": "yes", "status_change": "archive", "change": "add"})
        for model, rows in some(list(world.rows[world.other.pk].items()), 6):
            chosen = [str(row.pk) for row in rows]
            for name, _ in some(list(_actions(model)), 2):
                for query in ("", f"?workspace={world.other.pk}"):
                    body = {"action": name, "_selected_action": chosen, "post": "yes", "select_across": "0"}
                    response = client.post(url_of(model, "changelist") + query, body)
                    assert not leaked(response, world, str(body) + query), (model, name)
        assert checksums(world.other) == before
        transaction.set_rollback(True)


@pytest.mark.parametrize("actor", [*ACTORS[:2], "mixed"])
def test_forged_keys_are_refused(world, db, actor):
    """Send forms of the own workspace with every key, or one, replaced by that of a row of the other's."""
    client = world.clients[actor]
    # Who may look at the other's rows is told of them, and points to none of them either.
    sees_both = actor == "mixed"
    before = checksums(world.other)
    for model in some(REGISTERED, 5):
        pages = [url_of(model, "add")]
        if rows := world.rows[world.own.pk][model]:
            pages.append(url_of(model, "change", rows[0].pk))
        for page in pages:
            response = client.get(page)
            if response.status_code != 200:
                continue
            assert sees_both or not leaked(response, world), page
            keys = _keys(response)
            forgeries = [{name: _first(world, one) for name, one in keys.items()}]
            forgeries += [{name: _first(world, one)} for name, one in keys.items()]
            for forged in some(forgeries, 2):
                with transaction.atomic():
                    body = {**_as_shown(response), **forged, **_counts(response, forged)}
                    answer = client.post(page, body)
                    assert sees_both or not leaked(answer, world, str(body)), (page, forged)
                    assert not _pointing_over(world), (page, forged)
                    assert checksums(world.other) == before, (page, forged)
                    transaction.set_rollback(True)


def test_who_owns_one_workspace_looks_on_in_the_other(world, db):
    """Send each page's own form, buttons and actions for rows of the workspace where the role is a viewer's."""
    client = world.clients["mixed"]
    before, opened = checksums(world.other), 0
    with transaction.atomic():
        for address in some([one for _, one in addresses(world, world.other)], 20):
            response = client.get(address)
            opened += response.status_code == 200
            body = _as_shown(response) if response.status_code == 200 else {}
            client.post(
                address, {**body, "post": "yes", "send": "yes", "status_change": "archive", "change": "add"}
            )
        for model, rows in some(list(world.rows[world.other.pk].items()), 6):
            chosen = [str(row.pk) for row in [*rows, *world.rows[world.own.pk][model]]]
            for name, _ in some(list(_actions(model)), 2):
                for where in (world.own, world.other):
                    for across in some(["0", "1"], 1):
                        body = {"action": name, "_selected_action": chosen, "select_across": across}
                        page = f"{url_of(model, 'changelist')}?workspace={where.pk}"
                        client.post(page, {**body, "post": "yes"})
        assert checksums(world.other) == before
        transaction.set_rollback(True)
    assert opened


def _actions(model):
    return [(name, action) for action, name, _ in admin.site._registry[model]._get_base_actions()]


def _forms(response):
    yield "", response.context["adminform"].form
    for inline in response.context["inline_admin_formsets"]:
        for form in [*inline.formset.forms, inline.formset.empty_form]:
            yield inline.formset.prefix, form


def _as_shown(response):
    """Return what the page's form would send, were nothing changed."""
    if response.context is None or "adminform" not in response.context:
        return {}
    body = {}
    for inline in response.context["inline_admin_formsets"]:
        management = inline.formset.management_form
        body |= {management.add_prefix(name): management.initial[name] for name in management.fields}
    for _, form in _forms(response):
        for bound in form:
            value = bound.value()
            if value is not None and "__prefix__" not in bound.html_name:
                body[bound.html_name] = bound.field.prepare_value(value)
    return {name: "" if value is None else value for name, value in body.items()}


def _keys(response):
    """Return the fields of a page that name rows, and what rows; those of a new row of an inline are its first."""
    found = {}
    for _, form in _forms(response):
        for name, field in form.fields.items():
            queryset = getattr(field, "queryset", None)
            if queryset is not None and isinstance(queryset, models.QuerySet):
                found[form.add_prefix(name).replace("__prefix__", "0")] = queryset.model
    return found


def _counts(response, forged):
    """Return the numbers of rows of the inlines that `forged` adds one to."""
    prefixes = {name.split("-")[0] for name in forged if "-" in name}
    return {
        f"{inline.formset.prefix}-TOTAL_FORMS": max(1, inline.formset.total_form_count())
        for inline in response.context["inline_admin_formsets"]
        if inline.formset.prefix in prefixes
    }


def _forged(client, model, rows, values):
    response = client.get(url_of(model, "change", rows[0].pk)) if rows else None
    return {**(_as_shown(response) if response is not None and response.status_code == 200 else {}), **values}


def _pointing_over(world):
    """Return rows of one tenant that point to another's."""
    found = []
    for model in REGISTERED:
        names = {field.name for field in model._meta.concrete_fields}
        if "workspace" not in names:
            continue
        for field in model._meta.concrete_fields:
            related = field.related_model
            if related is None or related is Workspace or not hasattr(related, "workspace_id"):
                continue
            rows = model._default_manager.exclude(**{field.name: None})
            found += list(rows.exclude(**{f"{field.name}__workspace_id": models.F("workspace_id")})[:1])
    return found


def test_what_was_done_to_others_rows_is_not_on_the_first_page(world, db):
    client = world.clients["owner"]
    user = User.objects.get(pk=client.session["_auth_user_id"])
    for world_id, name in ((None, f"{MARK} of nobody"), (world.own.pk, "own again")):
        LogEntry.objects.create(
            user=user,
            action_flag=1,
            object_id=str(world_id),
            object_repr=name,
            content_type=ContentType.objects.get_for_model(Workspace),
        )
    assert not leaked(client.get("/admin/"), world)
