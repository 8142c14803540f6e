"""Concurrent requests are written together, each with its own outcome."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test import Client

from config import clock
from config.db.errors import Fault, classify_database_error
from config.db.statements import execute
from config.errors import Overloaded
from contacts.models import Contact
from contacts.references import ContactChanges, ContactReference
from events.api import ingest
from events.errors import InvalidEventName
from events.models import EffectsLevel, Event, EventBatch, IdempotencyKey
from events.stream import group_commit
from events.stream.group_commit import CommitUnknown, GroupCommit, Submission
from events.stream.idempotency import Answer, Claim
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer
from workspaces.models import ApiKey

pytestmark = pytest.mark.django_db(transaction=True)
DONE = Answer(204, b"")
BOUND_SECONDS = 30


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def writers() -> Iterator[Callable[..., GroupCommit]]:
    """Make writers whose connections end with the test."""
    made: list[GroupCommit] = []

    def make(**settings: Any) -> GroupCommit:
        bounds = {
            "writers": 2,
            "linger_seconds": 0.0,
            "most_events": 100,
            "most_bytes": 1_000_000,
            "most_waiting": 100,
        }
        made.append(GroupCommit(**{**bounds, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def groups(monkeypatch) -> list[list[Submission]]:
    """Note every group that is written."""
    noted: list[list[Submission]] = []
    recorded = group_commit._recorded
    monkeypatch.setattr(
        group_commit, "_recorded", lambda group: (noted.append(list(group)), recorded(group))[1]
    )
    return noted


def a_submission(workspace, *names: str, **more: Any) -> Submission:
    def answer(outcomes, contacts):
        for outcome in outcomes:
            outcome.recorded()
        return DONE

    incoming = [IncomingEvent(name) for name in names or ("x",)]
    values = {"incoming": incoming, "schema_policy": SchemaPolicy.OPEN, "answer": answer, **more}
    return Submission(workspace.id, **values)


@contextmanager
def held_up(monkeypatch) -> Iterator[threading.Event]:
    """Let the first group wait, in the middle of its writing, until the block ends."""
    begun, process_batches = threading.Event(), threading.Event()
    record = group_commit.record_events

    def slow(*args, **kwargs):
        if not begun.is_set():
            begun.set()
            assert process_batches.wait(BOUND_SECONDS)
        return record(*args, **kwargs)

    monkeypatch.setattr(group_commit, "record_events", slow)
    try:
        yield begun
    finally:
        process_batches.set()


def together(
    writer: GroupCommit, first: Submission, rest: list[Submission], monkeypatch
) -> list[Future[Answer]]:
    """Submit `rest` while `first` is being written, and return the futures of all."""
    with ThreadPoolExecutor(len(rest) + 1) as pool:
        with held_up(monkeypatch) as begun:
            futures = [pool.submit(writer.submit, first)]
            assert begun.wait(BOUND_SECONDS)
            for place, submission in enumerate(rest, 2):
                futures.append(pool.submit(writer.submit, submission))
                wait_until(lambda place=place: writer.waiting >= place)
        for future in futures:
            future.exception(BOUND_SECONDS)
    return futures


def wait_until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(BOUND_SECONDS * 200):
        if holds():
            return
        waiting.wait(0.005)
    raise AssertionError("it took too long")


def test_what_comes_while_a_group_is_written_is_the_next_group(workspace, writers, groups, monkeypatch):
    rest = [a_submission(workspace, f"n{number}") for number in range(8)]
    futures = together(writers(), a_submission(workspace, "first"), rest, monkeypatch)
    assert [future.result() for future in futures] == [DONE] * 9
    assert [len(group) for group in groups] == [1, 8]
    assert Event.objects.count() == 9


def test_a_lone_request_waits_for_nobody(workspace, writers):
    assert writers(linger_seconds=3600.0).submit(a_submission(workspace)) == DONE


def test_a_busy_workspace_s_next_group_begins_once_those_that_were_answered_are_back(
    workspace, writers, groups, monkeypatch
):
    writer = writers(linger_seconds=3600.0)
    with ThreadPoolExecutor(4) as pool:
        with held_up(monkeypatch) as begun:
            futures = [pool.submit(writer.submit, a_submission(workspace))]
            assert begun.wait(BOUND_SECONDS)
            futures += [pool.submit(writer.submit, a_submission(workspace)) for _ in range(2)]
            wait_until(lambda: writer.waiting == 3)
        assert futures[0].result(BOUND_SECONDS) == DONE
        assert [len(group) for group in groups] == [1]
        futures.append(pool.submit(writer.submit, a_submission(workspace)))
        assert [future.result(BOUND_SECONDS) for future in futures] == [DONE] * 4
    assert [len(group) for group in groups] == [1, 3]


def test_who_lingers_does_not_wait_for_the_group_of_another_workspace(workspace, writers, monkeypatch):
    """The only writer so far takes the other's group meanwhile."""
    writer, other = writers(linger_seconds=0.5), WorkspaceFactory()
    record, goes_on = group_commit.record_events, threading.Event()

    def slow(workspace_id, *args, **kwargs):
        assert workspace_id == workspace.id or goes_on.wait(BOUND_SECONDS)
        return record(workspace_id, *args, **kwargs)

    with ThreadPoolExecutor(3) as pool:
        try:
            with held_up(monkeypatch) as begun:
                first = pool.submit(writer.submit, a_submission(workspace))
                assert begun.wait(BOUND_SECONDS)
                lingers = pool.submit(writer.submit, a_submission(workspace))
                wait_until(lambda: writer.waiting == 2)
            monkeypatch.setattr(group_commit, "record_events", slow)
            first.result(BOUND_SECONDS)
            pool.submit(writer.submit, a_submission(other))
            assert lingers.result(BOUND_SECONDS) == DONE
        finally:
            goes_on.set()


def test_one_busy_workspace_keeps_one_writer(workspace, writers, monkeypatch):
    writer = writers(writers=4)
    together(writer, a_submission(workspace), [a_submission(workspace) for _ in range(4)], monkeypatch)
    assert len(writer._threads) == 1


def test_a_refusal_is_that_request_s_own(workspace, writers, groups, monkeypatch):
    rest = [a_submission(workspace, "good"), a_submission(workspace, " "), a_submission(workspace, "too")]
    futures = together(writers(), a_submission(workspace), rest, monkeypatch)
    assert [len(group) for group in groups] == [1, 3]
    assert isinstance(futures[2].exception(), InvalidEventName)
    assert sorted(Event.objects.values_list("name", flat=True)) == ["good", "too", "x"]


def test_only_the_culprit_of_a_failure_fails_and_nothing_is_stored_twice(
    workspace, writers, groups, monkeypatch
):
    def fail(outcomes, contacts):
        raise ZeroDivisionError

    rest = [
        a_submission(workspace, "a"),
        a_submission(workspace, "bad", answer=fail),
        a_submission(workspace, "b"),
    ]
    futures = together(writers(), a_submission(workspace), rest, monkeypatch)
    assert isinstance(futures[2].exception(), ZeroDivisionError)
    assert futures[1].result() == futures[3].result() == DONE
    assert sorted(Event.objects.values_list("name", flat=True)) == ["a", "b", "x"]
    assert [len(group) for group in groups] == [1, 3, 1, 1, 1]


def test_what_a_late_request_changes_is_history_beside_one_of_now(workspace, writers, groups, monkeypatch):
    ann = (("email", "ann@example.test"),)
    told = ContactReference(identifiers=ann, update_matched=True, changes=ContactChanges(first_name="Ann"))
    a_contact(workspace, "ann@example.test")
    long_ago = clock.now() - timedelta(days=30)
    rest = [
        a_submission(workspace, incoming=[IncomingEvent("order", ContactReference(identifiers=ann))]),
        a_submission(workspace, incoming=[IncomingEvent("order", told, occurred_at=long_ago)]),
    ]

    together(writers(), a_submission(workspace), rest, monkeypatch)

    assert [len(group) for group in groups] == [1, 1, 1]
    change = Event.objects.get(name="contact.updated")
    (level,) = EventBatch.objects.filter(event_ids__contains=[change.id]).values_list("level", flat=True)
    assert level == EffectsLevel.SCORES_AND_SEGMENTS


def test_a_group_has_one_schema_policy_and_the_others_keep_their_places(
    workspace, writers, groups, monkeypatch
):
    policies = [SchemaPolicy.OPEN, SchemaPolicy.LEARNED, SchemaPolicy.OPEN, SchemaPolicy.LEARNED]
    rest = [
        a_submission(workspace, f"n{place}", schema_policy=policy) for place, policy in enumerate(policies)
    ]
    together(writers(), a_submission(workspace), rest, monkeypatch)
    names = [[submission.incoming[0].name for submission in group] for group in groups]
    assert names[:3] == [["x"], ["n0", "n2"], ["n1", "n3"]]


def test_a_group_is_bounded_in_events_and_bytes(workspace, writers, groups, monkeypatch):
    rest = [a_submission(workspace, *"abc") for _ in range(3)]
    rest += [a_submission(workspace, size_bytes=600_000), a_submission(workspace, size_bytes=600_000)]
    together(writers(most_events=6), a_submission(workspace), rest, monkeypatch)
    assert [len(group) for group in groups] == [1, 2, 2, 1]


def test_a_compressed_body_counts_for_what_it_holds(workspace, groups):
    body = json.dumps({"type": "x", "metadata": {"text": "a" * 100_000}}).encode()
    headers = bearer(a_key(workspace).secret)

    answer = Client().post(
        f"/api/workspaces/{workspace.id}/events",
        gzip.compress(body),
        content_type="application/json",
        HTTP_CONTENT_ENCODING="gzip",
        **headers,
    )

    assert answer.status_code == 201
    assert [submission.size_bytes for (submission,) in groups] == [len(body)]


def test_one_tenant_does_not_wait_for_another_s_lock(workspace, writers):
    writer, other = writers(), WorkspaceFactory()
    jane = a_contact(workspace, "jane@example.test")
    reference = ContactReference(
        identifiers=(("email", "jane@example.test"), ("phone", "+12025550100")), update_matched=True
    )
    slow = replace(a_submission(workspace), incoming=[IncomingEvent("x", reference)])
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Contact.objects.select_for_update().get(id=jane.id)
            locked = pool.submit(writer.submit, slow)
            wait_until(lambda: writer.waiting == 1)
            assert writer.submit(a_submission(other)) == DONE
            assert not locked.done()
        assert locked.result(BOUND_SECONDS) == DONE


def test_who_waits_for_a_lock_too_long_is_told_to_come_back(workspace, writers, settings):
    limits = replace(settings.TIMEOUTS["ingest"], lock_seconds=0.1)
    settings.TIMEOUTS = {**settings.TIMEOUTS, "ingest": limits}
    key = bearer(a_key(workspace).secret)
    writer = writers()
    jane = a_contact(workspace, "jane@example.test")
    body = {"eventName": "x", "contact": {"email": "jane@example.test", "firstName": "Jane"}}
    with pytest.MonkeyPatch.context() as patch, transaction.atomic():
        patch.setattr(group_commit, "_process", writer)
        Contact.objects.select_for_update().get(id=jane.id)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(in_own_connection(send), "/v4/track", body, **key).result(BOUND_SECONDS)
    assert answer.status_code == 503, answer.content
    assert answer.headers["Retry-After"]
    assert not Event.objects.filter(name="x").exists()


def test_as_many_stuck_tenants_as_there_are_writers_stop_nobody(writers, settings):
    limits = replace(settings.TIMEOUTS["ingest"], lock_seconds=1.0)
    settings.TIMEOUTS = {**settings.TIMEOUTS, "ingest": limits}
    stuck, other = [WorkspaceFactory() for _ in range(4)], WorkspaceFactory()
    for workspace in stuck:
        a_contact(workspace, "jane@example.test")
    reference = ContactReference(
        identifiers=(("email", "jane@example.test"), ("phone", "+12025550100")), update_matched=True
    )
    writer = writers(writers=4)
    with ThreadPoolExecutor(40) as pool, transaction.atomic():
        list(Contact.objects.select_for_update().filter(workspace__in=stuck))

        def submit_all():
            return [
                pool.submit(
                    writer.submit, replace(a_submission(workspace), incoming=[IncomingEvent("x", reference)])
                )
                for workspace in stuck
            ]

        first = submit_all()
        # While every writer waits for a lock, for as long as that may take.
        assert writer.submit(a_submission(other)) == DONE
        assert all(
            classify_database_error(one.exception(BOUND_SECONDS)) is Fault.LOCK_TIMEOUT for one in first
        )
        # From now on one writer has them all.
        again = submit_all()
        wait_until(lambda: writer.waiting == 4)
        for _ in range(20):
            assert writer.submit(a_submission(other)) == DONE
        assert not all(one.done() for one in again)
    for one in again:
        one.exception(BOUND_SECONDS)
    assert writer.submit(a_submission(stuck[0])) == DONE


def test_who_waits_for_a_turn_too_long_is_told_to_come_back(workspace, writers, monkeypatch):
    writer = writers(wait_seconds=0.2)
    with ThreadPoolExecutor(1) as pool, held_up(monkeypatch) as begun:
        written = pool.submit(writer.submit, a_submission(workspace))
        assert begun.wait(BOUND_SECONDS)
        with pytest.raises(Overloaded):
            writer.submit(a_submission(workspace))
        assert writer.waiting == 1
        # What is being written has an answer to come.
        assert not written.done()
    assert written.result() == DONE
    assert Event.objects.count() == 1


def test_a_writer_has_its_statements_planned_once(workspace, writers):
    plans: list[tuple[int, int]] = []

    def answer(outcomes, contacts):
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements")
            plans.append(cursor.fetchone())
        return DONE

    writer = writers(writers=1)
    for _ in range(8):
        writer.submit(a_submission(workspace, answer=answer))
    generic, custom = plans[-1]
    assert generic > 0
    assert custom == 0


def test_past_a_bound_nobody_else_may_wait(workspace, writers, monkeypatch):
    writer = writers(most_waiting=2)
    with ThreadPoolExecutor(2) as pool, held_up(monkeypatch) as begun:
        pool.submit(writer.submit, a_submission(workspace))
        assert begun.wait(BOUND_SECONDS)
        pool.submit(writer.submit, a_submission(workspace))
        wait_until(lambda: writer.waiting == 2)
        with pytest.raises(Overloaded):
            writer.submit(a_submission(workspace))
    assert Event.objects.count() == 2


def test_where_the_system_gives_no_thread_nobody_waits_for_ever(workspace, writers, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    writer = writers()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(Overloaded):
            writer.submit(a_submission(workspace))
    assert writer.waiting == 0
    assert writer.submit(a_submission(workspace, "y")) == DONE
    assert list(Event.objects.values_list("name", flat=True)) == ["y"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/workspaces/{}/events", {"type": "x"}),
        ("/v1/workspaces/{}/contacts/jane@example.test/events", {"event_name": "x"}),
        ("/v1/events/send", {"eventName": "x", "email": "jane@example.test"}),
        ("/api/partner/events", {"type": "x", "person": {"emails": ["jane@example.test"]}}),
        ("/v4/track", {"eventName": "x", "email": "jane@example.test"}),
        ("/v1/track", {"event": "x", "userId": "7"}),
        ("/v1/batch", {"batch": []}),
    ],
)
def test_every_format_says_that_too_many_wait(workspace, writers, monkeypatch, path, body):
    a_contact(workspace, "jane@example.test")
    monkeypatch.setattr(group_commit, "_process", writers(most_waiting=0))
    answer = send(path.format(workspace.id), body, **bearer(a_key(workspace).secret))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.content


def test_one_key_twice_at_once_is_recorded_once(workspace, writers, monkeypatch):
    claim = Claim("once", b"d" * 32)
    rest = [a_submission(workspace, "paid", claim=claim) for _ in range(5)]
    rest.append(a_submission(workspace, "paid", claim=Claim("other", b"d" * 32)))
    futures = together(writers(), a_submission(workspace), rest, monkeypatch)
    answers = [future.result() for future in futures[1:]]
    assert [answer.is_replay for answer in answers].count(False) == 2
    assert Event.objects.filter(name="paid").count() == 2


def test_a_refused_request_leaves_no_key(workspace, writers, monkeypatch):
    rest = [
        a_submission(workspace, " ", claim=Claim("a", b"")),
        a_submission(workspace, claim=Claim("b", b"")),
    ]
    together(writers(), a_submission(workspace), rest, monkeypatch)
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["b"]


def test_a_connection_that_was_cut_costs_no_request_its_events(workspace, writers):
    writer = writers(writers=1)
    pids: list[int] = []

    def answer(outcomes, contacts):
        pids.append(backend())
        return DONE

    assert writer.submit(a_submission(workspace, answer=answer)) == DONE
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pids[0]])
    assert writer.submit(a_submission(workspace, answer=answer)) == DONE
    assert Event.objects.count() == 2


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "by a writer"])
@pytest.mark.parametrize("times", [1, 9], ids=["once", "again and again"])
def test_who_is_taken_out_of_a_deadlock_is_tried_once_more(workspace, writers, monkeypatch, is_alone, times):
    left = [times]

    def record(*arguments, **options):
        if left[0]:
            left[0] -= 1
            execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$")
        return real(*arguments, **options)

    real = group_commit.record_events
    monkeypatch.setattr(group_commit, "record_events", record)
    submit = group_commit.submit if is_alone else writers().submit
    if times == 1:
        assert submit(a_submission(workspace, "bought")) == DONE
    else:
        with pytest.raises(OperationalError):
            submit(a_submission(workspace, "bought"))
        assert left == [times - 2]
    assert Event.objects.filter(name="bought").count() == (times == 1)


def test_after_a_commit_of_unknown_end_nothing_is_tried_again(workspace, writers, groups, monkeypatch):
    wrapper = type(connections["default"])
    commit = wrapper._commit

    def cut(self):
        with psycopg.connect(**admin_parameters()) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", [self.connection.info.backend_pid])
        commit(self)

    monkeypatch.setattr(wrapper, "_commit", cut)
    with pytest.raises(CommitUnknown):
        writers().submit(a_submission(workspace))
    assert len(groups) == 1


def test_while_it_waits_a_request_has_no_connection(workspace, writers, monkeypatch):
    given_back: list[bool] = []
    monkeypatch.setattr(group_commit, "release_connection", lambda: given_back.append(True))
    writers().submit(a_submission(workspace))
    assert given_back == [True]


class TestRememberedCredentials:
    """A key that is remembered is verified by what it writes."""

    @pytest.fixture(autouse=True)
    def _remember(self, settings):
        settings.CREDENTIAL_CACHE_SECONDS = 3600.0

    @pytest.fixture
    def key(self, workspace):
        issued = a_key(workspace)
        assert self.send(workspace, issued).status_code == 201
        return issued

    @staticmethod
    def send(workspace, issued) -> Any:
        return send(f"/api/workspaces/{workspace.id}/events", {"type": "x"}, **bearer(issued.secret))

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"revoked_at": clock.now()}, 401),
            ({"expires_at": clock.now() - timedelta(days=1)}, 401),
            ({"scopes": ["contacts:read"]}, 403),
        ],
    )
    def test_what_it_lost_holds_at_once(self, workspace, key, change, status):
        ApiKey.objects.filter(id=key.api_key.id).update(**change)
        assert self.send(workspace, key).status_code == status
        assert Event.objects.count() == 1

    def test_what_it_gained_holds_at_once(self, workspace):
        issued = a_key(workspace, scopes=["contacts:read"])
        assert self.send(workspace, issued).status_code == 403
        ApiKey.objects.filter(id=issued.api_key.id).update(scopes=["events:write"])
        assert self.send(workspace, issued).status_code == 201

    def test_a_changed_identity_field_holds_at_once(self, workspace, key):
        path = f"/v1/workspaces/{workspace.id}/contacts/+12025550100/events"
        a_contact(workspace, "jane@example.test", identifiers=(("phone", "+12025550100"),))
        assert send(path, {"event_name": "x"}, **bearer(key.secret)).status_code == 404
        type(workspace).objects.filter(id=workspace.id).update(identity_field="phone")
        assert send(path, {"event_name": "x"}, **bearer(key.secret)).status_code == 204

    @pytest.mark.parametrize(("edits", "status", "recorded"), [(1, 201, 2), (3, 201, 2), (50, 503, 1)])
    def test_edits_of_its_workspace_meanwhile_do_not_refuse_it(
        self, workspace, key, monkeypatch, edits, status, recorded
    ):
        names = iter(range(edits))

        def edited_before(submission):
            if (name := next(names, None)) is not None:
                type(workspace).objects.filter(id=workspace.id).update(name=f"Name {name}")
            return group_commit.submit(submission)

        monkeypatch.setattr(ingest, "submit", edited_before)
        assert self.send(workspace, key).status_code == status
        assert Event.objects.count() == recorded

    def test_it_is_looked_up_once(self, workspace, key, django_assert_max_num_queries):
        with django_assert_max_num_queries(6) as captured:  # BEGIN and COMMIT among them
            self.send(workspace, key)
        asked = [query for query in captured if "workspaces_apikey" in query["sql"]]
        assert len(asked) == 1


def send(path: str, body: dict[str, Any], **headers: Any) -> Any:
    return Client().post(path, body, content_type="application/json", **headers)


def in_own_connection(work: Callable[..., Any]) -> Callable[..., Any]:
    """Close what a thread of the test has opened."""

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return work(*args, **kwargs)
        finally:
            connections.close_all()

    return run


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def admin_parameters() -> dict[str, Any]:
    wanted = ("host", "port", "user", "password", "dbname")
    parameters = connection.get_connection_params()
    return {name: parameters[name] for name in wanted if name in parameters}
