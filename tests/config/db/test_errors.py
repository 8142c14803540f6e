"""What the database could not do now is told by SQLSTATE, in every format, and never as a fault of ours."""

from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.utils import DataError, IntegrityError, InternalError
from django.test import Client
from psycopg import errors

from campaigns.messaging import dispatcher
from config.db.errors import Fault, classify_database_error, is_unattributable, storable_error
from config.db.timeouts import timeouts_from_environment
from config.errors import Overloaded
from config.http import readiness
from config.runtime import broker
from contacts.models import ContactScore
from contacts.references import ContactReference
from events.models import ParkedEffect
from events.processing.bisection import bisect_failures
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.contacts.factories import a_contact
from tests.proof.test_bad_input import ENDPOINTS
from tests.scoring.factories import a_rule
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

FAULTS = {
    "08006": Fault.LOST,
    "08P01": Fault.LOST,
    "25006": Fault.READ_ONLY,
    "25P03": Fault.LOST,
    "40001": Fault.CONFLICT,
    "40P01": Fault.CONFLICT,
    "53100": Fault.NO_SPACE,
    "53200": Fault.OUT_OF_RESOURCES,
    "53300": Fault.TOO_MANY_CONNECTIONS,
    "53400": Fault.OUT_OF_RESOURCES,
    "55P03": Fault.LOCK_TIMEOUT,
    "57014": Fault.STATEMENT_TIMEOUT,
    "57P01": Fault.LOST,
    "57P03": Fault.STARTING,
    "58030": Fault.SYSTEM,
}
OURS = ("22P02", "23505", "25P02", "42601", "54000", "55000", "XX000")


def raised(sqlstate: str) -> Exception:
    """Return what Django raises for a SQLSTATE."""
    cause = errors.lookup(sqlstate)("told by the server")
    kinds: tuple[Any, ...] = (OperationalError, InternalError, DataError, IntegrityError)
    kind = next((kind for kind in kinds if isinstance(cause, getattr(psycopg, kind.__name__))), DatabaseError)
    error: Exception = kind("told by the server")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("sqlstate", FAULTS)
def test_each_state_is_told(sqlstate):
    assert classify_database_error(raised(sqlstate)) is FAULTS[sqlstate]
    assert is_unattributable(raised(sqlstate)) is (sqlstate != "57014")


@pytest.mark.parametrize("sqlstate", OURS)
def test_what_was_asked_may_be_at_fault(sqlstate):
    assert classify_database_error(raised(sqlstate)) is None


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OperationalError("gone"), Fault.LOST),
        (InterfaceError("the connection is closed"), Fault.LOST),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), Fault.TOO_MANY_CONNECTIONS),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), Fault.STARTING),
        (psycopg.OperationalError("connection failed: session is read-only"), Fault.READ_ONLY),
        (psycopg.OperationalError("connection refused"), Fault.LOST),
        (InternalError("?"), None),
        (KeyError("x"), None),
        (None, None),
    ],
    ids=str,
)
def test_what_has_no_state_is_told_by_its_kind(error, fault):
    assert classify_database_error(error) is fault


@pytest.mark.django_db
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_in_every_format_it_is_a_503(endpoint, monkeypatch):
    workspace = WorkspaceFactory()
    headers = bearer(a_key(workspace).secret)
    url = endpoint.url.replace("{workspace}", str(workspace.id)).replace("{contact}", "x@example.test")
    for error in [*map(raised, FAULTS), Overloaded()]:

        def raise_it(*_, error=error):
            raise error

        monkeypatch.setattr("workspaces.api.base.WorkspaceAccess.check_rate", raise_it)
        answer = Client().post(url, b"{}", content_type="application/json", **headers)
        assert answer.status_code == 503, error
        assert int(answer.headers["Retry-After"]) > 0
        assert endpoint.is_error(answer.json())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_a_database_that_only_reads_refuses_what_would_write(endpoint):
    workspace = WorkspaceFactory()
    contact = a_contact(workspace, "x@example.test")
    headers = bearer(a_key(workspace).secret)
    fill = {"{workspace}": str(workspace.id), "{contact}": str(contact.id)}
    url, body = endpoint.url.replace("{contact}", "x@example.test"), endpoint.body
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        answer = Client().post(_filled(url, fill), _filled(body, fill), "application/json", **headers)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
    assert answer.status_code == 503, answer.content
    assert answer.headers["Retry-After"]
    assert endpoint.is_error(answer.json())


def _filled(value: Any, fill: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in fill.items():
            value = value.replace(name, text)
        return value
    if isinstance(value, dict):
        return {key: _filled(one, fill) for key, one in value.items()}
    return [_filled(one, fill) for one in value] if isinstance(value, list) else value


@pytest.mark.django_db
@pytest.mark.parametrize(
    "error", [raised("25006"), raised("53100"), OperationalError("gone"), Overloaded()], ids=repr
)
@pytest.mark.parametrize(
    "place",
    [
        "django.contrib.admin.sites.AdminSite.each_context",
        "django.contrib.sessions.middleware.SessionMiddleware.process_response",
    ],
)
def test_a_page_is_a_plain_page(monkeypatch, place, error):
    def raise_it(*_, **__):
        raise error

    monkeypatch.setattr(place, raise_it)
    answer = Client(raise_request_exception=False).get("/admin/login/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"Try again" in answer.content


@pytest.mark.django_db
def test_a_page_s_own_fault_stays_one(monkeypatch):
    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.each_context", lambda *_, **__: 1 / 0)
    assert Client(raise_request_exception=False).get("/admin/login/").status_code == 500


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_parks_nothing():
    def run(items):
        raise raised("53100")

    with pytest.raises(OperationalError):
        bisect_failures([1, 2], run, lambda item, error: pytest.fail("nobody is to blame"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("times", "parked"), [(1, []), (2, [3])])
def test_what_was_slow_once_is_not_parked(times, parked):
    slow: list[int] = []
    done: list[int] = []
    park_item: list[int] = []

    def run(items):
        if 3 in items and (len(items) > 1 or len(slow) < times):
            slow.extend([0] * (len(items) == 1))
            raise raised("57014")
        done.extend(items)

    bisect_failures([1, 2, 3, 4], run, lambda item, error: park_item.append(item))
    assert park_item == parked
    assert sorted(done + park_item) == [1, 2, 3, 4]


@pytest.mark.django_db(transaction=True)
def test_a_locked_table_parks_nothing(settings, monkeypatch):
    """Also where a statement may not take longer than a lock is to be waited for."""
    monkeypatch.setenv("EFFECTS_STATEMENT_TIMEOUT_SECONDS", "0.5")
    monkeypatch.setenv("EFFECTS_LOCK_TIMEOUT_SECONDS", "30")
    settings.TIMEOUTS = {**settings.TIMEOUTS, "effects": timeouts_from_environment()["effects"]}
    workspace = WorkspaceFactory.create()
    a_rule(workspace, "buy", 5)
    jane = ContactReference(identifiers=(("email", "jane@example.test"),), if_missing="create")
    record_events(workspace.id, [IncomingEvent("buy", jane)], schema_policy=SchemaPolicy.OPEN)
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("LOCK TABLE contacts_contactscore IN ACCESS EXCLUSIVE MODE")
    try:
        with pytest.raises(OperationalError) as told_by_effects:
            apply_effects(workspace.id)
        assert classify_database_error(told_by_effects.value) is Fault.LOCK_TIMEOUT
    finally:
        other.rollback()
        other.close()
    assert not ParkedEffect.objects.exists()
    assert apply_effects(workspace.id) == "done"
    assert ContactScore.objects.get(workspace=workspace).points == 5


def test_what_could_not_be_recorded_of_a_delivery_is_kept(monkeypatch):
    def record(*_):
        raise raised("25006")

    monkeypatch.setattr(dispatcher, "record_attempts", record)
    with pytest.raises(InternalError):
        dispatcher._record_all([(("workspace", "email"), None)])  # type: ignore[list-item]


@pytest.mark.django_db
def test_no_session_begins_with_a_server_that_takes_no_writes(monkeypatch):
    other = connection.copy()
    usual = other.get_connection_params()
    options = f"{usual.get('options', '')} -c default_transaction_read_only=on"
    monkeypatch.setattr(other, "get_connection_params", lambda: {**usual, "options": options})
    with pytest.raises(OperationalError) as raised:
        other.ensure_connection()
    assert classify_database_error(raised.value) is Fault.READ_ONLY


@pytest.fixture
def look(monkeypatch):
    """Have the database looked at anew; with libpq's options, if any."""
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    conninfo = broker.django_conninfo

    def look(options: str = "") -> Any:
        monkeypatch.setattr(
            broker, "django_conninfo", lambda: conninfo().replace("-c lock", f"{options} -c lock", 1)
        )
        answer = Client().get("/readyz")
        return answer.status_code, answer.json()["checks"]["database"]

    return look


@pytest.mark.django_db(transaction=True)
def test_readiness_tells_a_database_that_only_reads(look):
    assert look() == (200, "ok")
    assert look("-c default_transaction_read_only=on") == (503, "read-only")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sqlstate", ["53100", "53400"])
def test_readiness_tells_that_nothing_can_be_written(look, monkeypatch, sqlstate):
    def fail(self, statement, *arguments):
        raise errors.lookup(sqlstate)("could not write")

    monkeypatch.setattr(readiness, "_writing", lambda connection: fail(connection, ""))
    assert look() == (503, FAULTS[sqlstate].value)


@pytest.mark.django_db(transaction=True)
def test_the_look_spills_to_the_disk(look):
    with broker.connect() as line, line.transaction():
        line.execute("SET LOCAL work_mem = '64kB'")
        plan = line.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {readiness._SPILL}").fetchone()  # type: ignore[arg-type]
    assert "external merge" in str(plan)


def test_readiness_tells_that_there_are_too_many_connections(look, monkeypatch):
    def refuse():
        raise psycopg.OperationalError("FATAL:  sorry, too many clients already")

    monkeypatch.setattr(broker, "connect", refuse)
    answer = Client().get("/readyz").json()
    assert answer["checks"]["database"] == "too many connections"


def test_an_error_is_stored_without_what_postgresql_refuses() -> None:
    assert storable_error(ValueError("a\x00b\ud800c")) == "ValueError: ab?c"
    assert storable_error(ValueError("x" * 20), 14) == "ValueError: xx"
