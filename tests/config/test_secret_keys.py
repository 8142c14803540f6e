"""The installation's secrets: nobody else knows them, and they are rotated without anything being lost."""

import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from campaigns.messaging.public_links import unsubscribe_token
from campaigns.messaging.telegram_inbound import start_payload, webhook_secret
from campaigns.messaging.tracking_links import click_url
from campaigns.models import ChannelSettings
from config import ids
from config.secret_keys import key_in, require_secret
from contacts.crud import upsert_contact
from contacts.erasure.erasures import erase_person
from contacts.models import ErasedIdentifier
from contacts.references import ContactChanges
from contacts.tombstones import delete_tombstones
from events.models import Event
from tests.contacts.factories import a_contact
from tests.workspaces.factories import PASSWORD, MembershipFactory, a_key, an_application, bearer

ROOT = Path(__file__).resolve().parents[2]
STRONG = secrets.token_urlsafe(48)
SHOW = "from config import settings as s; print(s.SECRET_KEY, s.ERASURE_KEY, s.SECRET_KEY_FALLBACKS)"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    left_out = ("SECRET_", "ERASURE_", "DJANGO_")  # production has none of the last
    clean = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_first_starts_at_once_agree_on_secrets_that_only_the_owner_reads(tmp_path):
    home = tmp_path / "new"
    script = "import sys, pathlib, config.secret_keys as k; print(k.key_in(pathlib.Path(sys.argv[1]), 'k'))"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    keys = {start.communicate()[0].strip() for start in starts}
    assert len(keys) == 1
    assert len(keys.pop()) >= 64
    assert stat.S_IMODE((home / "k").stat().st_mode) == 0o600
    assert not (home / "k.new").exists()


def test_an_installation_has_secrets_of_its_own_and_keeps_them(tmp_path):
    shown = [run("-c", SHOW, HEADRACE_HOME=str(tmp_path / name)).stdout.split() for name in ("a", "a", "b")]
    assert shown[0] == shown[1]
    assert len({shown[0][0], shown[0][1], shown[2][0], shown[2][1]}) == 4


def test_a_home_that_nothing_can_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="set SECRET_KEY instead"):
        key_in(tmp_path / "file", "secret_key")


@pytest.mark.parametrize(
    "key", ["only-for-this-machine", "django-insecure-" + STRONG], ids=["old", "insecure"]
)
def test_a_secret_that_everybody_knows_is_refused_everywhere(key):
    with pytest.raises(ImproperlyConfigured, match="publicly known") as refused:
        require_secret("SECRET_KEY", key, strong=False)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "key", ["short", "x" * 80, "changeme" * 10, "0123456789" * 6, STRONG[:30]], ids=range(5)
)
def test_one_that_can_be_guessed_is_refused_in_production(key):
    assert require_secret("SECRET_KEY", key, strong=False) == key
    with pytest.raises(ImproperlyConfigured, match="too short or too regular"):
        require_secret("SECRET_KEY", key, strong=True)


@pytest.mark.parametrize("key", [STRONG, secrets.token_hex(16), secrets.token_hex(32)], ids=range(3))
def test_random_ones_are_taken(key):
    assert require_secret("SECRET_KEY", key, strong=True) == key


def test_production_asks_for_each_secret_in_one_line(tmp_path):
    home = {"HEADRACE_HOME": str(tmp_path), "PRODUCTION": "1"}
    for given in ({}, {"SECRET_KEY": STRONG}):
        done = run("manage.py", "check", **home, **given)
        missing = "ERASURE_KEY" if given else "SECRET_KEY"
        assert done.returncode != 0
        line = f"Improperly configured: {missing}: set it in the environment, the same on every node"
        assert done.stderr.strip() == line
    assert not list(tmp_path.iterdir())
    for program in (
        ("-m", "config.runtime.granian"),
        ("-m", "celery", "-A", "config", "worker", "--pool=solo"),
        ("-m", "celery", "-A", "config.runtime.beat", "beat", "--pidfile="),
    ):
        done = run(*program, **home, SECRET_KEY=STRONG)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.strip() == line
    weak = run("manage.py", "check", **home, SECRET_KEY="only-for-this-machine", ERASURE_KEY=STRONG)
    assert weak.stderr.startswith("Improperly configured: SECRET_KEY: this one is publicly known")
    former = run("-c", SHOW, SECRET_KEY=STRONG, SECRET_KEY_FALLBACKS="only-for-this-machine")
    assert "SECRET_KEY_FALLBACKS: this one is publicly known" in former.stderr


class Issued:
    """What is signed under an installation's secret, or follows from it, and whether it still opens anything."""

    def __init__(self):
        self.member = MembershipFactory.create()
        self.workspace = self.member.workspace
        self.contact = a_contact(self.workspace, email="ada@example.test")
        self.browser = Client()
        credentials = {"username": self.member.user.username, "password": PASSWORD}
        self.browser.post("/api/auth/login", credentials, content_type="application/json")
        self.pair = Client().post("/api/auth/token", credentials, content_type="application/json").json()
        created = an_application(self.workspace)
        self.oauth = (
            Client()
            .post(
                "/oauth2/token",
                {
                    "grant_type": "client_credentials",
                    "client_id": created.application.client_id,
                    "client_secret": created.client_secret,
                },
            )
            .json()["access_token"]
        )
        self.key = a_key(self.workspace).secret
        ChannelSettings.objects.create(workspace=self.workspace, channel="telegram", secret="1:bot")
        self.telegram = webhook_secret(self.workspace.pk, "1:bot")
        self.start = start_payload(self.workspace.pk, self.contact.pk)
        self.unsubscribe = unsubscribe_token(self.workspace.pk, self.contact.pk, "email", None)
        self.click = click_url(ids.uuid7(), "https://shop.test/").partition(":8000")[2]

    def signed(self):
        """Return what of it is taken."""
        taken = {
            "session": self.browser.get("/api/auth/session").status_code == 200,
            "access": self._contacts(self.pair["access"]),
            "refresh": self._refresh(),
            "unsubscribe": Client().get(f"/unsubscribe/{self.unsubscribe}").status_code == 200,
            "click": Client().get(self.click).status_code == 302,
            "telegram": self._telegram("hello"),
            "start": self._starts(),
        }
        return {name for name, is_taken in taken.items() if is_taken}

    def lasting(self):
        return self._contacts(self.key) and self._contacts(self.oauth)

    def _contacts(self, secret):
        path = f"/api/workspaces/{self.workspace.pk}/contacts"
        return Client().get(path, **bearer(secret)).status_code == 200

    def _refresh(self):
        body = {"refresh": self.pair["refresh"]}
        answer = Client().post("/api/auth/token/refresh", body, content_type="application/json")
        if answer.status_code == 200:
            self.pair |= answer.json()
        return answer.status_code == 200

    def _telegram(self, text, secret=None):
        update = {
            "update_id": int(ids.uuid7()) % 2**40,
            "message": {
                "message_id": 1,
                "text": text,
                "chat": {"id": 5, "type": "private"},
                "from": {"id": 5},
            },
        }
        answer = Client().post(
            f"/api/webhooks/telegram/{self.workspace.pk}",
            update,
            content_type="application/json",
            HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN=secret or self.telegram,
        )
        return answer.status_code == 200

    def _starts(self):
        self._telegram(f"/start {self.start}", webhook_secret(self.workspace.pk, "1:bot"))
        told = Event.objects.filter(name="telegram.message_received").order_by("-received_at", "-id").first()
        return told is not None and told.contact_id == self.contact.pk


ALL = {"session", "access", "refresh", "unsubscribe", "click", "telegram", "start"}


@pytest.mark.django_db
def test_rotating_the_secret_keeps_what_it_signed_until_the_old_one_is_given_up(settings):
    """The steps of docs/operations.md, "Rotating secrets"."""
    old, new = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = old, []
    before = Issued()
    assert before.signed() == ALL
    # Every node knows both, and signs under the old one still.
    settings.SECRET_KEY_FALLBACKS = [new]
    assert before.signed() == ALL
    # Every node signs under the new one.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, [old]
    assert before.signed() == ALL
    after = Issued()
    assert after.signed() == ALL
    # A node that has not heard of it yet takes what the others sign.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = old, [new]
    assert after.signed() == ALL
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, [old]
    assert before.signed() == after.signed() == ALL
    # The old one is given up: whoever worked meanwhile has been signed for anew.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, []
    assert after.signed() == ALL
    left = before.signed()
    assert left == {"session", "access", "refresh"}
    assert before.lasting()
    assert after.lasting()


@pytest.mark.django_db
def test_without_the_old_secret_nothing_that_it_signed_is_taken(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secrets.token_urlsafe(48), []
    issued = Issued()
    settings.SECRET_KEY = secrets.token_urlsafe(48)
    assert not issued.signed()
    assert issued.lasting()


@pytest.mark.django_db
def test_rotating_the_key_of_erasures_forgets_nobody(settings):
    settings.ERASURE_KEY, settings.ERASURE_KEY_FALLBACKS = "first", []
    workspace = MembershipFactory.create().workspace
    erase_person(workspace.id, a_contact(workspace, email="ada@example.test"))
    settings.ERASURE_KEY, settings.ERASURE_KEY_FALLBACKS = "second", ["first"]
    erase_person(workspace.id, a_contact(workspace, email="bob@example.test"))
    for email in ("ada@example.test", "Bob@Example.test"):
        with pytest.raises(Exception, match="erased"):
            upsert_contact(workspace.id, "email", email, ContactChanges())
    # What is new is known under the new key.
    settings.ERASURE_KEY_FALLBACKS = []
    with pytest.raises(Exception, match="erased"):
        upsert_contact(workspace.id, "email", "bob@example.test", ContactChanges())
    settings.ERASURE_KEY_FALLBACKS = ["first"]
    assert delete_tombstones(workspace.pk, [("email", "ada@example.test")]) == 1
    assert upsert_contact(workspace.id, "email", "ada@example.test", ContactChanges())[1]
    assert ErasedIdentifier.objects.exists()
