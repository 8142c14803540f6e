"""Sessions of browsers and tokens of OAuth clients are deleted when they are good for nothing any more."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from oauth2_provider.models import AccessToken, Grant, RefreshToken

from tests.workspaces.authentication.test_oauth import REDIRECT, code_for, exchange, token_for
from tests.workspaces.factories import MembershipFactory, an_application
from workspaces.schedule import ended_sign_ins
from workspaces.tasks import purge_ended_sign_ins

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, tzinfo=UTC)


def kept():
    return {model.__name__: model.objects.count() for model in (Session, Grant, AccessToken, RefreshToken)}


def next_due():
    with connection.cursor() as cursor:
        cursor.execute(ended_sign_ins())
        return cursor.fetchone()[0]


def forget(after):
    """Do the work at a moment; when beat would publish it, there has been something to do."""
    with time_machine.travel(START + after, tick=False):
        is_due = next_due() <= START + after
        before = kept()
        assert purge_ended_sign_ins() == "done"
        assert (kept() != before) == is_due
    return kept()


@pytest.fixture
def oauth_settings(settings):
    # The library deletes in batches, with a pause between.
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CLEAR_EXPIRED_TOKENS_BATCH_INTERVAL": 0}


@pytest.mark.usefixtures("oauth_settings")
def test_what_is_over_is_deleted_and_what_is_not_stays():
    created = an_application(redirect_uris=[REDIRECT])
    member = MembershipFactory.create(workspace=created.application.workspace)
    browser = Client()
    with time_machine.travel(START, tick=False):
        browser.force_login(member.user)
        assert token_for(Client(), an_application()).status_code == 200
        pair = exchange(Client(), created, code_for(browser, created)).json()
        code_for(browser, created)  # never exchanged
    assert kept() == {"Session": 1, "Grant": 1, "AccessToken": 2, "RefreshToken": 1}
    assert forget(timedelta(seconds=30)) == {"Session": 1, "Grant": 1, "AccessToken": 2, "RefreshToken": 1}
    # The client's own token is over after two hours; a user's is renewed for as long as somebody does.
    assert forget(timedelta(hours=3)) == {"Session": 1, "Grant": 0, "AccessToken": 1, "RefreshToken": 1}
    renewal = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
    with time_machine.travel(START + timedelta(days=100), tick=False):
        renewed = token_for(Client(), created, **renewal)
        assert renewed.status_code == 200
    assert forget(timedelta(days=101)) == {"Session": 0, "Grant": 0, "AccessToken": 1, "RefreshToken": 2}
    with time_machine.travel(START + timedelta(days=200), tick=False):
        renewal["refresh_token"] = renewed.json()["refresh_token"]
        assert token_for(Client(), created, **renewal).status_code == 200
    # A used one is known for as long as its second use would end the family.
    assert forget(timedelta(days=279))["RefreshToken"] == 3
    assert forget(timedelta(days=281))["RefreshToken"] == 2
    assert forget(timedelta(days=400)) == {"Session": 0, "Grant": 0, "AccessToken": 0, "RefreshToken": 0}
    assert next_due() is None


@pytest.mark.usefixtures("oauth_settings")
def test_one_that_was_not_used_for_long_renews_nothing():
    created = an_application(redirect_uris=[REDIRECT])
    member = MembershipFactory.create(workspace=created.application.workspace)
    browser = Client()
    with time_machine.travel(START, tick=False):
        browser.force_login(member.user)
        pair = exchange(Client(), created, code_for(browser, created)).json()
    with time_machine.travel(START + timedelta(days=181), tick=False):
        renewal = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
        assert token_for(Client(), created, **renewal).status_code == 400
