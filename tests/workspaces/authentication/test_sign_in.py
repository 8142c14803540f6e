"""Who tries too often to sign in waits, at every door, and locks nobody else out."""

import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import hashers
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.exceptions import Throttled

from tests.workspaces.factories import PASSWORD, MembershipFactory, UserFactory, an_application
from workspaces.authentication import passwords
from workspaces.authentication.passwords import MOST_WAITING, OneAtATimeHasher

pytestmark = pytest.mark.django_db
HERE, THERE, NEW = "198.51.100.7", "203.0.113.9", "192.0.2.4"


def login(name, password="wrong", address=HERE, **headers):
    body = {"username": name, "password": password}
    return Client().post(
        "/api/auth/login", body, content_type="application/json", REMOTE_ADDR=address, **headers
    )


def jwt(name, password="wrong", address=HERE):
    body = {"username": name, "password": password}
    return Client().post("/api/auth/token", body, content_type="application/json", REMOTE_ADDR=address)


def page(path):
    def sign_in(name, password="wrong", address=HERE):
        return Client().post(path, {"username": name, "password": password}, REMOTE_ADDR=address)

    return sign_in


def client_secret(path):
    def ask(name, password="wrong", address=HERE):
        body = {
            "grant_type": "client_credentials",
            "client_id": name,
            "client_secret": password,
            "token": "x",
        }
        return Client().post(path, body, REMOTE_ADDR=address)

    return ask


DOORS = {
    "session": (login, 401),
    "jwt": (jwt, 401),
    "admin": (page("/admin/login/"), 200),
    "oauth page": (page("/oauth2/login"), 200),
    "oauth token": (client_secret("/oauth2/token"), 401),
    "oauth revoke": (client_secret("/oauth2/revoke"), 401),
}


@pytest.mark.parametrize("door", DOORS)
def test_an_address_that_tries_whatever_names_waits_at_every_door(door, settings, monkeypatch):
    settings.LOGIN_ADDRESS_RATE_LIMIT = "3/minute"
    knock, refused = DOORS[door]
    assert [knock(f"name{n}").status_code for n in range(3)] == [refused] * 3
    hashed = []
    monkeypatch.setattr(OneAtATimeHasher, "encode", lambda *_: hashed.append(1))
    answer = knock("another")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert not hashed
    for other, _ in DOORS.values():
        assert other("yet another").status_code == 429
    monkeypatch.undo()
    assert knock("name1", address=THERE).status_code == refused


def test_each_door_refuses_in_its_own_format(settings):
    settings.LOGIN_ADDRESS_RATE_LIMIT = "1/minute"
    login("x")
    assert login("x").json() == jwt("x").json() == {"error": "Too many requests"}
    assert DOORS["oauth token"][0]("x").json() == {"error": "temporarily_unavailable"}
    for name in ("admin", "oauth page"):
        answer = DOORS[name][0]("x")
        assert answer.headers["Content-Type"].startswith("text/html")
        assert re.search(r"try again in \d+ second", answer.content.decode())


def test_clients_with_their_secret_are_not_counted(settings):
    settings.LOGIN_ADDRESS_RATE_LIMIT = "2/minute"
    created = an_application()
    ask = client_secret("/oauth2/token")
    answers = [ask(created.application.client_id, created.client_secret) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}


def test_a_user_name_and_the_users_address_are_one_account(settings):
    settings.LOGIN_RATE_LIMIT = "2/minute"
    user = UserFactory.create()
    assert login(user.username).status_code == 401
    assert login(user.email.upper()).status_code == 401
    assert [login(name).status_code for name in (user.username, user.email)] == [429, 429]


def test_a_limit_tells_nobody_who_is_there(settings):
    settings.LOGIN_RATE_LIMIT = "2/minute"
    user = UserFactory.create(username="Known", email="known@example.test")
    for name in ("Known", "Nobody", user.email, "nobody@example.test"):
        spelled = (name.upper(), name, name.lower())
        assert [login(one, address=f"192.0.2.{len(name)}").status_code for one in spelled] == [401, 401, 429]


def test_the_networks_of_ipv6_are_one_address_each(settings):
    settings.LOGIN_ADDRESS_RATE_LIMIT = "2/minute"
    statuses = [login(f"n{n}", address=f"2001:db8:1:1::{n}").status_code for n in range(3)]
    assert statuses == [401, 401, 429]
    assert login("n", address="2001:db8:1:2::1").status_code == 401


def test_who_was_there_before_is_not_locked_out_by_strangers(settings):
    settings.LOGIN_ACCOUNT_RATE_LIMIT = "3/hour"
    settings.LOGIN_TOTAL_RATE_LIMIT = "4/hour"
    user = UserFactory.create()
    assert login(user.username, PASSWORD).status_code == 200
    for n in range(6):
        login(user.username, address=f"203.0.113.{n}")
        login("somebody", address=f"203.0.113.{n}")
    assert login(user.username, PASSWORD, THERE).status_code == 429
    assert login("somebody", address=NEW).status_code == 429
    assert login(user.email, PASSWORD).status_code == 200


def test_an_account_that_strangers_try_is_closed_to_strangers_only(settings):
    settings.LOGIN_ACCOUNT_RATE_LIMIT = "3/hour"
    tried, other = UserFactory.create(), UserFactory.create()
    for n in range(4):
        login(tried.username, address=f"203.0.113.{n}")
    assert login(tried.username, PASSWORD, NEW).status_code == 429
    assert login(other.username, PASSWORD, NEW).status_code == 200


def test_the_old_password_is_not_told_too_often(settings):
    settings.ROOT_URLCONF = "config.urls"
    settings.LOGIN_RATE_LIMIT = "2/minute"
    user = UserFactory.create(is_staff=True)
    client = Client()
    client.force_login(user)
    path = reverse("admin:password_change")
    body = {"old_password": "wrong", "new_password1": "a good one", "new_password2": "a good one"}
    answers = [client.post(path, body).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    assert client.get(path).status_code == 200


def test_a_refusal_is_logged_with_the_address_and_without_the_name(settings, caplog):
    settings.PROXY_COUNT = 1
    settings.LOGIN_ADDRESS_RATE_LIMIT = "5/minute"
    user = MembershipFactory.create().user
    behind = {"HTTP_X_FORWARDED_FOR": "6.6.6.6, 2001:db8::7"}
    with caplog.at_level(logging.WARNING, "workspaces.authentication.sign_in"):
        login("s3cret-in-the-wrong-field", "pa55word", **behind)
        login(user.username, "pa55word", **behind)
        client_secret("/oauth2/token")("x")
        for _ in range(5):
            login(user.email, "pa55word", **behind)
    lines = [
        record.getMessage() for record in caplog.records if record.name == "workspaces.authentication.sign_in"
    ]
    assert lines[:3] == [
        "Sign-in refused: no such user, from 2001:db8::7",
        f"Sign-in refused: wrong password, user {user.pk}, from 2001:db8::7",
        # One proxy is in front, and it told nothing.
        f"Sign-in refused: unknown client or wrong client secret, from {HERE}",
    ]
    assert lines[-1] == "Sign-in refused: too many attempts from the address, from 2001:db8::7"
    # A flood is one line.
    assert sum("too many" in line for line in lines) == 1
    told = caplog.text
    assert not [secret for secret in ("s3cret", "pa55word", user.username, user.email) if secret in told]


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("198.51.100.9:4711", "198.51.100.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("\tforged\x1b line", "unknown"),
    ],
)
def test_what_a_proxy_tells_is_an_address_in_the_log(settings, caplog, told, address):
    settings.PROXY_COUNT = 1
    with caplog.at_level(logging.WARNING, "workspaces.authentication.sign_in"):
        login("x", HTTP_X_FORWARDED_FOR=told)
    assert caplog.messages[-1].endswith(f"from {address}")


def test_one_password_is_hashed_at_a_time_and_a_crowd_is_told_at_once(monkeypatch):
    """Of a hundred at once a few wait their turn; the others are answered before the first is done."""
    at_once, most, process_batches = [0], [0], threading.Event()

    def slow(hasher, password, salt, iterations=None):
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        process_batches.wait(10)
        at_once[0] -= 1
        return f"pbkdf2_sha256$1${salt}$x"

    def attempt(_):
        try:
            hashers.make_password("x")
        except Throttled as refusal:
            return refusal.wait
        finally:
            done.append(1)
            # The first to be hashed holds the others up until all that are refused are told so.
            if len(done) >= 100 - 1 - MOST_WAITING:
                process_batches.set()
        return 0

    done = []
    monkeypatch.setattr(hashers.PBKDF2PasswordHasher, "encode", slow)
    with ThreadPoolExecutor(100) as pool:
        waits = sorted(pool.map(attempt, range(100)))
    assert most[0] == 1
    assert waits == [0] * (1 + MOST_WAITING) + [passwords.RETRY_SECONDS] * (99 - MOST_WAITING)


def test_who_finds_a_crowd_is_a_429_at_every_door_that_hashes(monkeypatch):
    monkeypatch.setattr(passwords, "_places", threading.BoundedSemaphore(1))
    with passwords._one_turn():
        for door in ("session", "jwt", "admin", "oauth page"):
            answer = DOORS[door][0]("anybody")
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(passwords.RETRY_SECONDS))


def test_a_hash_is_djangos_own_and_yields_to_other_work(monkeypatch):
    priorities = []
    monkeypatch.setattr(passwords.os, "setpriority", lambda *told: priorities.append(told[2]))
    encoded = hashers.make_password("x")
    assert encoded.startswith("pbkdf2_sha256$")
    assert hashers.check_password("x", encoded)
    assert not hashers.check_password("y", encoded)
    assert priorities
    assert min(priorities) > 0


@pytest.fixture
def hashes(monkeypatch):
    """Count how often a password is hashed."""
    encode, counted = hashers.PBKDF2PasswordHasher.encode, []

    def count(*args, **more):
        counted.append(1)
        return encode(*args, **more)

    monkeypatch.setattr(hashers.PBKDF2PasswordHasher, "encode", count)
    return counted


@pytest.mark.parametrize(("name", "look_ups"), [("somebody", 1), ("nobody", 2), ("nobody@example.test", 3)])
@pytest.mark.parametrize("door", ["session", "jwt", "admin", "oauth page"])
def test_a_refused_sign_in_costs_one_hash_and_a_look_up_or_a_few(door, name, look_ups, hashes):
    UserFactory.create(username="somebody")
    hashes.clear()
    with CaptureQueriesContext(connection) as statements:
        DOORS[door][0](name)
    assert (len(hashes), len(statements)) == (1, look_ups)


@pytest.mark.parametrize("door", ["session", "jwt", "admin", "oauth page"])
def test_who_tries_too_often_costs_neither_a_hash_nor_a_look_up(door, hashes, settings):
    settings.LOGIN_ADDRESS_RATE_LIMIT = "1/minute"
    DOORS[door][0]("nobody")
    hashes.clear()
    with CaptureQueriesContext(connection) as statements:
        assert DOORS[door][0]("nobody").status_code == 429
    assert (len(hashes), len(statements)) == (0, 0)
