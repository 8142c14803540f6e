"""The admin in a real browser that can reach nothing else: pages are styled, and no script complains."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from contacts.models import ContactScore
from tests.admin.rows import fill, lines
from tests.browser.chromium import Chromium, needs_chromium
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def pages(live_server):
    """Return pages worth a look, by name, of a site with something in it."""
    workspace = Workspace.objects.create(name="Mill")
    rows = fill(workspace, 5)
    contact = rows.contacts[0]
    lines(workspace, contact, rows.rules[0], 6)
    ContactScore.objects.filter(contact=contact).update(points=47)
    paths = {
        "home": reverse("admin:index"),
        "contacts": reverse("admin:contacts_contact_changelist"),
        "contact": reverse("admin:contacts_contact_change", args=[contact.pk]),
        "events": reverse("admin:events_event_changelist"),
        "event": reverse("admin:events_event_change", args=[rows.events[0].pk]),
        "record-event": reverse("admin:events_event_add"),
        "definition": reverse("admin:events_eventdefinition_changelist"),
        "rule": reverse("admin:scoring_scoringrule_change", args=[rows.rules[0].pk]),
        "issue-key": reverse("admin:workspaces_apikey_add"),
    }
    return {name: live_server.url + path for name, path in paths.items()}


@pytest.fixture
def session_cookie(live_server):
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.mark.django_db(transaction=True)
def test_pages_need_nothing_from_outside(live_server, pages, session_cookie):
    with Chromium(lists_requests=True) as browser:
        browser.open(live_server.url + reverse("admin:login"))
        browser.cookie(settings.SESSION_COOKIE_NAME, session_cookie)
        for name, url in pages.items():
            browser.open(url)
            browser.screenshot(Path(settings.HEADRACE_HOME) / "screenshots" / f"{name}.png")
            assert browser.run("return document.title").endswith("Headrace"), name
            # Styled: the sidebar stands beside the page, and the symbol font is there.
            assert browser.run("return document.fonts.check('16px \"Material Symbols Outlined\"')"), name
            assert not browser.complaints(), name
            hosts = {urlsplit(address).netloc for address in browser.requested()}
            assert hosts <= {urlsplit(live_server.url).netloc, ""}, name


@pytest.mark.django_db(transaction=True)
def test_the_filters_open_and_name_the_workspace(live_server, pages, session_cookie):
    with Chromium() as browser:
        browser.open(live_server.url + reverse("admin:login"))
        browser.cookie(settings.SESSION_COOKIE_NAME, session_cookie)
        browser.open(pages["events"])
        shown = (
            "return [...document.querySelectorAll('select[name=workspace]')].some(e => e.checkVisibility())"
        )
        browser.run(
            "[...document.querySelectorAll('a, button')].find(e => e.innerText.includes('Filters')).click()"
        )
        for _ in range(50):
            if browser.run(shown):
                break
            time.sleep(0.1)
        browser.screenshot(Path(settings.HEADRACE_HOME) / "screenshots" / "filters.png")
        assert browser.run(shown)
        browser.run(
            "const name = document.querySelector('select[name=name]'); name.value = 'e1';"
            "name.form.querySelector('[type=submit]').click()"
        )
        for _ in range(50):
            if "name=e1" in browser.run("return location.search"):
                break
            time.sleep(0.1)
        assert (
            browser.run(
                "return document.querySelectorAll('#result_list tbody tr.data-row').length || "
                "document.querySelectorAll('#result_list tbody tr').length"
            )
            == 1
        )
        assert not browser.complaints()
