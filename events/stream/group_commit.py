"""Group commit: concurrent ingest requests of a process are recorded together, in one transaction.

A request hands in a `Submission` and waits, without a database connection, for its own answer. One writer at a time
has a workspace: it takes what waits there of one kind, makes one call of `record_events` and one commit, and every
request is answered after that commit. A lone request is written at once; what comes while a group is being written is
the next group. Workspaces have their turns, so none waits for another's queue.
"""

import logging
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import Error, OperationalError, close_old_connections, connection, connections, transaction

from config import clock
from config.db.connection_slots import release_connection
from config.db.errors import Fault, classify_database_error
from config.db.statements import execute
from config.db.timeouts import milliseconds
from config.db.workloads import use_in_thread
from config.errors import DomainError, Overloaded
from events.metrics import BEGUN, EVENTS, OVERLOADED, groups
from events.models import Event
from events.stream.idempotency import Answer, Claim, claim_keys, release_keys, store_answers
from events.stream.item_formats import ParsedItems
from events.stream.quarantine import Refusal, keep_refused, unparsed_refusals
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.access import Credential
from workspaces.authentication.credentials import changed_credentials
from workspaces.errors import CredentialChanged

logger = logging.getLogger(__name__)

SCOPE = "events:write"
ContactReader = Callable[[UUID, Collection[UUID]], Mapping[UUID, Any]]
"""Reads what answers show of contacts, for all of a group in one statement, by the id an event came with."""
Result = Answer | Exception
STUCK_SECONDS = 30.0
"""For which a workspace is taken to be stuck after its group has waited for the database in vain."""
STUCK_WAITING = 4
"""How many requests of a stuck workspace wait."""
PATIENCE_SECONDS = 0.05
"""What a group takes that nobody looks at for why."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What one request wants recorded, and how its answer is made from the outcomes."""

    workspace_id: UUID
    incoming: Sequence[IncomingEvent]
    schema_policy: SchemaPolicy
    # Gets the outcomes in order and what `read_contacts` has read. May raise the DomainError that refuses it all.
    answer: Callable[[Sequence[Outcome], Mapping[UUID, Any]], Answer]
    read_contacts: ContactReader | None = None
    credential: Credential | None = None
    claim: Claim | None = None
    # Of the request's body.
    size_bytes: int = 0
    # Of a batch: its sender is told of each item by itself, and may not send a refused one again.
    items: ParsedItems | None = None


class _GroupKind(NamedTuple):
    """What the requests of a group share, for they are recorded in one call: two would lock contacts in no order."""

    schema_policy: SchemaPolicy
    # What a late event changes of a contact is history, too, and stays it beside another's event of this moment.
    tells_history: bool


@dataclass(slots=True, eq=False)
class _Ticket:
    """A request that waits."""

    submission: Submission
    kind: _GroupKind
    result: Result | None = None
    # Released with the result: a threading.Event is a lock with some thirty calls around it.
    done: threading.Lock = field(default_factory=threading.Lock)
    # Of the request: its id, and its trace where there is one.
    context: Context = field(default_factory=copy_context)


class _Turn(NamedTuple):
    """When the next group of a workspace begins: at a time (monotonic seconds), or once so many requests wait."""

    at: float
    enough: int


class GroupCommit:
    """The writer threads of a process, and the requests that wait for them.

    `linger_seconds` is the shortest time between the beginnings of two groups of a busy workspace, unless all those
    that the last group has answered are back before: a longer one makes groups larger. A group has at most
    `most_events` and `most_bytes`, or one request; at most `most_waiting` requests wait, none longer than
    `wait_seconds` for its turn.

    A workspace whose group had to wait for the database in vain is stuck: until one succeeds, or a while has passed,
    few of its requests wait, and all such workspaces together have one writer.
    """

    def __init__(
        self,
        *,
        writers: int,
        linger_seconds: float,
        most_events: int,
        most_bytes: int,
        most_waiting: int,
        wait_seconds: float = 60.0,
    ) -> None:
        self.writers = writers
        self.linger_seconds = linger_seconds
        self.most_events = most_events
        self.most_bytes = most_bytes
        self.most_waiting = most_waiting
        self.wait_seconds = wait_seconds
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)

    def submit(self, submission: Submission) -> Answer:
        """Record a request's events together with other requests', and return its answer after the commit.

        Raises what refuses it; Overloaded if too many wait, or its turn does not come.
        """
        ticket = _Ticket(submission, _GroupKind(submission.schema_policy, _tells_history(submission)))
        ticket.done.acquire()
        self._enqueue(ticket)
        release_connection()
        if not ticket.done.acquire(timeout=self.wait_seconds):
            self._withdraw(ticket)
        return _unpack(ticket.result)

    @property
    def waiting(self) -> int:
        """How many requests wait, those that are being written included."""
        return self._waiting

    def close(self) -> None:
        """End the writers once nothing waits, with their connections."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start_afresh(self) -> None:
        # Threads do not survive a fork, and a lock may have been held in the parent.
        self._changed = threading.Condition()
        self._queues: dict[UUID, deque[_Ticket]] = {}
        # Of workspaces with a queue and no writer.
        self._ready: dict[UUID, _Turn] = {}
        self._waiting = 0
        self._threads: list[threading.Thread] = []
        self._idle = 0
        # Workspaces that are stuck → until when (monotonic seconds) they are taken to be.
        self._stuck: dict[UUID, float] = {}
        self._with_stuck = 0
        self._is_closing = False

    def _enqueue(self, ticket: _Ticket) -> None:
        workspace_id = ticket.submission.workspace_id
        with self._changed:
            queue = self._queues.get(workspace_id)
            if self._waiting >= self.most_waiting or (
                workspace_id in self._stuck and queue is not None and len(queue) >= STUCK_WAITING
            ):
                OVERLOADED.inc()
                raise Overloaded
            self._waiting += 1
            if queue is None:
                self._queues[workspace_id] = deque([ticket])
                self._ready[workspace_id] = _NOW
                if not self._call_writer():
                    del self._queues[workspace_id], self._ready[workspace_id]
                    self._waiting -= 1
                    raise Overloaded
                return
            queue.append(ticket)
            turn = self._ready.get(workspace_id)
            if turn is not None and len(queue) == turn.enough:
                self._ready[workspace_id] = _NOW
                self._changed.notify()

    def _call_writer(self) -> bool:
        """Have a writer look at what is ready: one that is idle, or a new one. Returns whether there is any now,
        for the system may refuse more threads. Under the lock.
        """
        if self._idle:
            self._changed.notify()
            return True
        if len(self._threads) == self.writers:
            return True
        thread = threading.Thread(target=self._work, name=f"group commit {len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return bool(self._threads)
        self._threads.append(thread)
        return True

    def _withdraw(self, ticket: _Ticket) -> None:
        """Stop waiting. Raises Overloaded, unless the request is being written already."""
        with self._changed:
            queue = self._queues.get(ticket.submission.workspace_id)
            if queue is not None and ticket in queue:
                queue.remove(ticket)
                self._waiting -= 1
                raise Overloaded
        ticket.done.acquire()

    def _work(self) -> None:
        use_in_thread("ingest")
        while (taken := self._take()) is not None:
            workspace_id, group = taken
            began = time.monotonic()
            groups.add(BEGUN)
            results: Sequence[Result] = ()
            try:
                # What follows from a group follows from its first request, as far as logs and traces tell.
                results = group[0].context.run(_written, [ticket.submission for ticket in group])
            except BaseException as error:  # whatever it is, nobody may wait for ever
                logger.exception("A group of events could not be written")
                results = [error if isinstance(error, Exception) else RuntimeError(repr(error))] * len(group)
            finally:
                self._finish(workspace_id, group, results, began)
                groups.add((len(group), time.monotonic() - began))
        connections.close_all()

    def _take(self) -> tuple[UUID, list[_Ticket]] | None:
        """Wait until a workspace has requests, and claim a group of them; None when closed."""
        with self._changed:
            self._idle += 1
            while True:
                now = time.monotonic()
                ready = self._ready
                if self._with_stuck:
                    ready = {key: turn for key, turn in ready.items() if key not in self._stuck}
                for workspace_id in [
                    key for key, turn in ready.items() if turn.at <= now or self._is_closing
                ]:
                    del self._ready[workspace_id]
                    if group := self._group(self._queues[workspace_id]):
                        self._idle -= 1
                        self._with_stuck += workspace_id in self._stuck
                        if self._ready:
                            self._call_writer()
                        return workspace_id, group
                    del self._queues[workspace_id]
                if self._is_closing and not self._queues:
                    return None
                soonest = min(ready.values(), default=None)
                self._changed.wait(None if soonest is None else soonest.at - now)

    def _group(self, queue: deque[_Ticket]) -> list[_Ticket]:
        """Take the first request off a queue, with those of its kind that fit; the others keep their places."""
        group: list[_Ticket] = []
        others: list[_Ticket] = []
        keys: set[str] = set()
        events = size = 0
        while queue:
            if group and queue[0].kind != group[0].kind:
                others.append(queue.popleft())
                continue
            submission = queue[0].submission
            events += len(submission.incoming)
            size += submission.size_bytes
            key = "" if submission.claim is None else submission.claim.key
            # The second request with one key needs the first one's answer.
            if group and (events > self.most_events or size > self.most_bytes or key in keys):
                break
            if key:
                keys.add(key)
            group.append(queue.popleft())
        queue.extendleft(reversed(others))
        return group

    def _finish(
        self, workspace_id: UUID, group: Sequence[_Ticket], results: Sequence[Result], began: float
    ) -> None:
        seconds = time.monotonic() - began
        with self._changed:
            self._waiting -= len(group)
            if self._stuck or seconds > PATIENCE_SECONDS:
                self._note_stuck(workspace_id, any(_timed_out(result) for result in results))
            queue = self._queues[workspace_id]
            if queue or len(group) > 1:
                # Those that are answered now will soon be back. This writer itself is idle now.
                self._ready[workspace_id] = _Turn(began + self.linger_seconds, len(queue) + len(group))
            else:
                del self._queues[workspace_id]
        for ticket, result in zip(group, results, strict=True):
            ticket.result = result
            ticket.done.release()

    def _note_stuck(self, workspace_id: UUID, is_stuck: bool) -> None:
        """Record whether the workspace that a writer leaves is stuck. Under the lock."""
        now = time.monotonic()
        if workspace_id in self._stuck:
            self._with_stuck -= 1
            del self._stuck[workspace_id]
            # Others that are stuck wait for this writer.
            self._changed.notify_all()
        if is_stuck:
            self._stuck[workspace_id] = now + STUCK_SECONDS
        if not self._with_stuck:
            self._stuck = {key: until for key, until in self._stuck.items() if until > now}


def submit(submission: Submission) -> Answer:
    """Record a request's events and return its answer: grouped with others in a web process, alone elsewhere.

    Raises what refuses it; Overloaded if too many wait.
    """
    if _process is not None:
        return _process.submit(submission)
    try:
        return _unpack(_alone(submission))
    except OperationalError as error:
        if classify_database_error(error) is not Fault.CONFLICT:
            raise
    return _unpack(_alone(submission))


def _alone(submission: Submission) -> Result:
    with transaction.atomic():
        (result,) = _recorded([submission])
    return result


def _timed_out(result: Result) -> bool:
    return classify_database_error(result if isinstance(result, Exception) else None) in _STUCK


def _unpack(result: Result | None) -> Answer:
    if isinstance(result, Answer):
        return result
    raise result or RuntimeError("a group was written without a result")


class Disconnected(OperationalError):
    """The connection broke before a group was committed: nothing of it is stored."""


class CommitUnknown(OperationalError):
    """The connection broke during the commit of a group: whether it is stored is unknown."""


def _written(group: Sequence[Submission]) -> list[Result]:
    """Write a group; if it fails as a whole, write each request alone, so that only the failing one gets
    the error.
    """
    lock_seconds: float | None = None
    try:
        return _committed(group)
    except CommitUnknown as error:
        return [error] * len(group)
    except Exception as error:
        # Whoever was taken out of a deadlock finds the others gone.
        may_pass = isinstance(error, Disconnected) or classify_database_error(error) is Fault.CONFLICT
        if len(group) == 1 and not may_pass:
            return [error]
        logger.warning("A group of %s requests is tried one by one: %r", len(group), error)
        if classify_database_error(error) is Fault.LOCK_TIMEOUT:
            # The group has waited; of its requests those that are not to blame need not.
            lock_seconds = settings.TIMEOUTS["ingest"].lock_seconds / _ALONE
    results: list[Result] = []
    failures: list[Exception] = []
    for submission in group:
        try:
            # Two that wait in vain for the database are enough: the others would wait for the same.
            results += (
                _committed([submission], lock_seconds) if len(failures) < _MOST_FAILURES else [failures[-1]]
            )
        except Exception as error:
            results.append(error)
            if isinstance(error, OperationalError):
                failures.append(error)
    return results


def _committed(group: Sequence[Submission], lock_seconds: float | None = None) -> list[Result]:
    """Record a group in a transaction of its own. Raises CommitUnknown, or what nothing was stored for."""
    close_old_connections()
    connection.ensure_connection()
    used = connection.connection
    is_committing = False
    try:
        with transaction.atomic(durable=True):
            _prepare_connection(lock_seconds)
            results = _recorded(group)
            is_committing = True
    except Error as error:
        # Django has connected anew by now.
        if used is not None and used.closed:
            raise (CommitUnknown if is_committing else Disconnected) from error
        raise
    return results


def _prepare_connection(lock_seconds: float | None) -> None:
    """Set up a connection for a writer: generic plans, and `lock_seconds` as the lock timeout (None: the usual one).

    The statements are look-ups by key, any number of them: to plan one anew for a small group takes longer than to
    run it.
    """
    if lock_seconds is not None:
        execute("SELECT set_config('lock_timeout', %s, true)", [str(milliseconds(lock_seconds))])
    if getattr(connection.connection, _IS_PREPARED, False):
        return
    execute("SELECT set_config('plan_cache_mode', 'force_generic_plan', false)")
    transaction.on_commit(lambda: setattr(connection.connection, _IS_PREPARED, True))


def _recorded(group: Sequence[Submission]) -> list[Result]:
    """Record a group of one workspace in the caller's transaction. Returns each request's answer or refusal."""
    workspace_id = group[0].workspace_id
    results: dict[int, Result] = {}
    results |= _unverified(group)
    results |= _claimed(workspace_id, _rest(group, results))
    rest = _rest(group, results)
    if rest:
        outcomes = _outcomes(workspace_id, rest)
        contacts = _contacts(workspace_id, rest, outcomes)
        answers = {
            place: _answer(submission, outcomes[place], contacts.get(submission.read_contacts, {}))
            for place, submission in rest.items()
        }
        _resolve_claims(workspace_id, rest, answers)
        _keep_refused(workspace_id, rest, outcomes, answers)
        results |= answers
    return [results[place] for place in range(len(group))]


def _rest(group: Sequence[Submission], results: Mapping[int, Result]) -> dict[int, Submission]:
    return {place: submission for place, submission in enumerate(group) if place not in results}


def _unverified(group: Sequence[Submission]) -> dict[int, Result]:
    """Refuse requests whose API key or token changed since they came in."""
    credentials = [submission.credential for submission in group if submission.credential is not None]
    changed = changed_credentials(credentials, SCOPE)
    return {
        place: CredentialChanged()
        for place, submission in enumerate(group)
        if submission.credential is not None and submission.credential.secret_hash in changed
    }


def _claimed(workspace_id: UUID, rest: Mapping[int, Submission]) -> dict[int, Result]:
    """Claim the requests' Idempotency-Keys, and return the stored answers of those that are known."""
    claims = {submission.claim.key: submission.claim for submission in rest.values() if submission.claim}
    if not claims:
        return {}
    taken = claim_keys(workspace_id, claims.values())
    return {
        place: taken[submission.claim.key]
        for place, submission in rest.items()
        if submission.claim is not None and submission.claim.key in taken
    }


def _outcomes(workspace_id: UUID, rest: Mapping[int, Submission]) -> dict[int, list[Outcome]]:
    """Record the requests' events in one call of `record_events`."""
    (policy,) = {submission.schema_policy for submission in rest.values()}
    incoming = [event for submission in rest.values() for event in submission.incoming]
    recorded = iter(record_events(workspace_id, incoming, schema_policy=policy))
    return {place: list(islice(recorded, len(submission.incoming))) for place, submission in rest.items()}


def _keep_refused(
    workspace_id: UUID,
    rest: Mapping[int, Submission],
    outcomes: Mapping[int, Sequence[Outcome]],
    answers: Mapping[int, Result],
) -> None:
    """Hand what was refused over to the quarantine, but not that of a request that is refused as a whole batch."""
    refusals: list[Refusal] = []
    unparsed = 0
    for place, submission in rest.items():
        items = submission.items
        if items is not None and not isinstance(answers[place], Answer):
            continue
        is_public = submission.credential is not None and submission.credential.is_public
        policy, is_of_batch = submission.schema_policy, items is not None
        refusals += (
            Refusal(event, outcome.error, policy, Event.Source.API, is_of_batch)
            for event, outcome in zip(submission.incoming, outcomes[place], strict=True)
            if outcome.error is not None
        )
        if items is not None:
            refusals += unparsed_refusals(items, is_public=is_public)
            unparsed += len(items.unparsed)
    keep_refused(workspace_id, refusals, clock.now())
    if unparsed:
        transaction.on_commit(partial(EVENTS.labels("refused").inc, unparsed), robust=True)


def _tells_history(submission: Submission) -> bool:
    """Return whether any event may be late by the limit of its name (whole hours)."""
    limit = clock.now() - _SHORTEST_LIMIT
    return any(event.occurred_at is not None and event.occurred_at < limit for event in submission.incoming)


def _contacts(
    workspace_id: UUID, rest: Mapping[int, Submission], outcomes: Mapping[int, Sequence[Outcome]]
) -> dict[ContactReader | None, Mapping[UUID, Any]]:
    """Load the contacts that answers show, once for each way of loading them."""
    wanted: dict[ContactReader, set[UUID]] = defaultdict(set)
    for place, submission in rest.items():
        if submission.read_contacts is not None:
            events = [outcome.event for outcome in outcomes[place] if outcome.event is not None]
            wanted[submission.read_contacts] |= {event.contact_id for event in events if event.contact_id}
    return {read: read(workspace_id, ids) if ids else {} for read, ids in wanted.items()}


def _answer(submission: Submission, outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Result:
    try:
        return submission.answer(outcomes, contacts)
    except DomainError as error:
        return error


def _resolve_claims(
    workspace_id: UUID, rest: Mapping[int, Submission], results: Mapping[int, Result]
) -> None:
    """Store answers under the requests' Idempotency-Keys, and release the keys of refused requests."""
    kept: dict[str, Answer] = {}
    released: list[str] = []
    for place, submission in rest.items():
        if submission.claim is None:
            continue
        result = results[place]
        if isinstance(result, Answer):
            kept[submission.claim.key] = result
        else:
            released.append(submission.claim.key)
    if kept:
        store_answers(workspace_id, kept)
    if released:
        release_keys(workspace_id, released)


_NOW = _Turn(0.0, 0)
_MOST_FAILURES = 2
_ALONE = 10
"""What share of the time for a lock a request has that is tried by itself after its group waited in vain."""
_STUCK = (Fault.LOCK_TIMEOUT, Fault.STATEMENT_TIMEOUT)
_SHORTEST_LIMIT = timedelta(hours=1)
_IS_PREPARED = "headrace_is_prepared_for_groups"


def _of_this_process() -> GroupCommit | None:
    """Return the writers of a web process; elsewhere, and where nothing is to be gathered, there are none."""
    if not settings.IN_WEB or not settings.GROUP_COMMIT_EVENTS:
        return None
    return GroupCommit(
        writers=settings.GROUP_COMMIT_WRITERS,
        linger_seconds=settings.GROUP_COMMIT_LINGER_MS / 1000,
        most_events=settings.GROUP_COMMIT_EVENTS,
        most_bytes=settings.MAX_BODY_BYTES,
        most_waiting=settings.GROUP_COMMIT_WAITING,
        wait_seconds=settings.GROUP_COMMIT_WAIT_SECONDS,
    )


_process = _of_this_process()
if _process is not None:
    groups.waiting = partial(getattr, _process, "waiting")
