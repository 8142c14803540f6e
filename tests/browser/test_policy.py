"""No page of ours breaks the policy that it comes with: nothing is inline but what the policy names."""

import time

import pytest
from django.conf import settings
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from campaigns.messaging.public_links import unsubscribe_token
from campaigns.models import Message, SentEmail
from tests.admin.rows import fill, lines
from tests.browser.chromium import Chromium, needs_chromium
from tests.scale import IS_WHOLE
from tests.workspaces.factories import MembershipFactory, create_application
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.django_db(transaction=True)]

HOSTILE = """<style>p { color: red }</style><p style="color: blue">Hello<script>document.title = "broken"</script>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" onerror="document.title = 'broken'">"""


@pytest.fixture
def workspace():
    workspace = Workspace.objects.create(name="Mill")
    rows = fill(workspace, 3)
    lines(workspace, rows.contacts[0], rows.rules[0], 3)
    return workspace


@pytest.fixture
def browser(live_server):
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
    with Chromium() as browser:
        browser.open(live_server.url + reverse("admin:login"))
        assert not broken_in(browser)
        browser.cookie(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
        yield browser


def broken_in(browser):
    """Return what the console tells since the last call, but for an icon that is not there."""
    return [one for one in browser.complaints() if "/favicon.ico" not in one]


def pages():
    """Yield the addresses of the admin's pages: of every model one at least."""
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.first()
        yield reverse(f"{name}_change", args=[row.pk]) if row else reverse(f"{name}_changelist")
        if IS_WHOLE:
            yield reverse(f"{name}_changelist")
            yield reverse(f"{name}_add")


def test_the_admins_pages_keep_to_their_policy(live_server, workspace, browser):
    broken = {}
    for path in [reverse("admin:index"), *pages()]:
        browser.open(live_server.url + path)
        # A kind that nobody may add answers 403.
        complaints = [one for one in broken_in(browser) if "403 (Forbidden)" not in one]
        if complaints:
            broken[path] = complaints
    assert not broken


def wait_until(browser, script):
    for _ in range(100):
        if browser.run(script):
            return
        time.sleep(0.1)
    raise AssertionError(script)


def test_what_moves_in_the_admin_moves_under_the_policy(live_server, workspace, browser):
    def of(page, *args):
        browser.open(live_server.url + reverse(f"admin:{page}", args=args))

    # Alpine: the menu of the theme opens, and the dark is dark.
    of("contacts_contact_changelist")
    browser.run("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
    of("contacts_contact_changelist")
    wait_until(browser, "return document.documentElement.classList.contains('dark')")
    # The choices of a look-up come by themselves, and can be chosen.
    of("workspaces_apikey_add")
    browser.run("django.jQuery('#id_workspace').select2('open')")
    wait_until(browser, "return document.querySelector('.select2-results').innerText.includes('Mill')")
    # The calendar opens, and sets a date.
    browser.run("document.querySelector('.datetimeshortcuts a').click()")
    wait_until(browser, "return document.querySelector('#id_expires_at_0').value != ''")
    # A row is added to rows, by the script that knows them from the page.
    of("contacts_contact_add")
    before = browser.run("return document.querySelectorAll('tr.form-row, .inline-related').length")
    browser.run("document.querySelector('.add-row a, a.add-row, .inline-group .add-row').click()")
    wait_until(browser, f"return document.querySelectorAll('tr.form-row, .inline-related').length > {before}")
    assert not broken_in(browser)


def test_an_e_mail_in_the_admin_runs_nothing(live_server, workspace, browser):
    row = SentEmail.objects.first()
    source = f"Subject: x\r\nContent-Type: text/html\r\n\r\n{HOSTILE}"
    SentEmail.objects.filter(pk=row.pk).update(source=source.encode())
    browser.open(live_server.url + reverse("admin:campaigns_sentemail_change", args=[row.pk]))
    assert browser.run("return document.querySelector('iframe').sandbox.length") == 0
    # The frame is of nobody's origin, so that its document cannot be reached.
    assert browser.run("return document.querySelector('iframe').contentDocument") is None
    assert "broken" not in browser.run("return document.title")
    # Not by the policy of the page alone.
    assert all("sandboxed" in one or "inline" in one for one in browser.complaints())


def test_pages_for_everybody_keep_to_theirs(live_server, workspace):
    member = MembershipFactory.create(workspace=workspace)
    created = create_application(
        workspace.id, "client", redirect_uris=["https://client.example.test/back"], public=True
    )
    message = Message.objects.first()
    token = unsubscribe_token(workspace.pk, message.contact_id, "email", message.pk)
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    authorize = (
        f"/oauth2/authorize?response_type=code&client_id={created.application.client_id}&state=x"
        f"&redirect_uri=https://client.example.test/back&code_challenge={challenge}&code_challenge_method=S256"
    )
    client = Client()
    client.force_login(member.user)
    with Chromium() as browser:
        for path in ("/docs", "/oauth2/login", f"/unsubscribe/{token}", f"/preferences/{token}"):
            browser.open(live_server.url + path)
            assert not broken_in(browser), path
        browser.open(f"{live_server.url}/docs")
        wait_until(browser, "return document.querySelectorAll('.opblock-tag').length > 3")
        browser.run("document.querySelector('.opblock-tag').click()")
        wait_until(browser, "return document.querySelectorAll('.opblock-summary').length > 0")
        assert not broken_in(browser)
        # A style is there: the page is narrow.
        browser.open(f"{live_server.url}/unsubscribe/{token}")
        assert browser.run("return getComputedStyle(document.querySelector('main')).maxWidth") != "none"
        browser.run("document.querySelector('form button').click()")
        wait_until(browser, "return document.title.length > 0")
        browser.cookie(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
        browser.open(live_server.url + authorize)
        assert not broken_in(browser)
        browser.run("document.querySelector('[name=allow]').click()")
        wait_until(browser, "return !location.host.startsWith('localhost')")
        assert not [one for one in broken_in(browser) if "form-action" in one]
