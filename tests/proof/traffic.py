"""Tenants that go on sending whatever becomes of Headrace, and the reckoning afterwards.

Each event has a mark, and is sent until it is acknowledged, as a good client does: on a 503 or a broken connection
again, under the same Idempotency-Key or message id. So in the end every event that was begun is acknowledged, and
must be stored once, with each of its effects once.
"""

import itertools
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.campaigns.messages import MailServer
from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import RECOVERY_SECONDS, Client, System, manage
from tests.proof.tenants import ACTED, GREETED

TENANTS = 3
CONTACTS = 40
GIVE_UP_SECONDS = 180.0
"""For which a client tries one request."""
SINGLE_PAUSE_SECONDS, BATCH_PAUSE_SECONDS = 0.05, 0.3
BATCH = 5
ONE_GREETS_IN = 8


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An event that was taken: by the monotonic clock, when it was first tried and when it was answered."""

    name: str
    contact: str
    begun_at: float
    answered_at: float

    @property
    def seconds(self) -> float:
        return self.answered_at - self.begun_at


@dataclass
class Tenant:
    """A tenant as its own software sees it."""

    id: str
    secret: str
    people: dict[str, str]
    segment: str
    acknowledged: dict[str, Acknowledged] = field(default_factory=dict)
    """By its mark."""

    def __post_init__(self) -> None:
        self._contacts = itertools.cycle(self.people)

    def next_contact(self) -> str:
        """Return the id of whoever's turn it is."""
        return next(self._contacts)

    def body(self, shape: str, name: str, mark: str, contact: str) -> dict[str, Any]:
        """Return an event as one of the wire formats has it."""
        address = self.people[contact]
        match shape:
            case "omnisend":
                person = {"email": address}
                return {"eventName": name, "contact": person, "properties": {"mark": mark}, "eventID": mark}
            case "suresend":
                return {"type": name, "person": {"emails": [{"value": address}]}, "metadata": {"mark": mark}}
            case "item":
                return {"type": name, "contactId": contact, "metadata": {"mark": mark}, "messageId": mark}
            case _:
                return {"type": name, "contactId": contact, "metadata": {"mark": mark}}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the table that `make proof` prints."""

    scenario: str
    acknowledged: int
    stored: int
    effects: int
    expected: int
    lost: int
    twice: int
    stuck: int
    settled: int
    recovery_seconds: float
    slowdown: float
    """p95 of those whom the fault does not concern, of all where it concerns everybody, by what it is at rest."""
    p95_seconds: float
    concerns_all: bool


class Traffic:
    """All tenants' clients at work, from `with` to its end."""

    def __init__(self, system: System, **settings: str) -> None:
        """Make the tenants, by a process with these settings."""
        self.system = system
        program = f"from tests.proof.tenants import *; prepare_tenants({TENANTS}, {CONTACTS})"
        manage(system, "shell", "--no-imports", "-c", program, **settings)
        self.tenants = [Tenant(**one) for one in json.loads((system.home / "tenants.json").read_text())]
        self.errors: list[BaseException] = []
        self.clients: list[Client] = []
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[work, tenant], daemon=True)
            for tenant in self.tenants
            for work in (self._send_singles, self._send_batches)
        ]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(GIVE_UP_SECONDS + 10)
        assert not any(thread.is_alive() for thread in self._threads)
        if self.errors:
            raise self.errors[0]

    def acknowledged(self) -> int:
        """Return how many events were taken so far."""
        return sum(len(tenant.acknowledged) for tenant in self.tenants)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more events are taken."""
        enough = self.acknowledged() + count
        wait_for(lambda: self.acknowledged() >= enough or self.errors, RECOVERY_SECONDS)

    def wait_until_recovered(self, since: float) -> float:
        """Wait until all is as if nothing had been; return the seconds from `since` on.

        That is: each tenant was answered what it began after it, and all that was taken by then has its score.
        """

        def answered() -> bool:
            # A snapshot: the clients go on.
            return all(
                any(one.begun_at >= since for one in list(tenant.acknowledged.values()))
                for tenant in self.tenants
            )

        wait_for(lambda: answered() or self.errors, RECOVERY_SECONDS)
        marks = [mark for tenant in self.tenants for mark in list(tenant.acknowledged)]
        try:
            wait_for(lambda: self.errors or self._unscored(marks) == 0, GIVE_UP_SECONDS)
        except AssertionError:
            return float("inf")  # the reckoning tells of what
        return time.monotonic() - since

    @contextmanager
    def crowd(self, tenant: Tenant, count: int) -> Iterator[None]:
        """Have more clients of a tenant than usual change its contacts, each until it is answered."""
        is_over = threading.Event()
        addresses = list(tenant.people.values())

        def ask(number: int) -> None:
            client = Client(self.system, tenant.id, tenant.secret)
            self.clients.append(client)
            try:
                with closing(client):
                    for place in itertools.count():
                        if is_over.is_set():
                            return
                        body = {
                            "email": addresses[(number + place) % len(addresses)],
                            "firstName": f"{number} {place}",
                        }
                        client.post(
                            "/autosend/v1/contacts/email",
                            body,
                            attempts_seconds=GIVE_UP_SECONDS,
                            is_keyed=False,
                        )
            except BaseException as error:
                self.errors.append(error)

        threads = [threading.Thread(target=ask, args=[number], daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
        for thread in threads:
            thread.join(GIVE_UP_SECONDS)

    def retries(self) -> int:
        """Return how often something had to be sent again."""
        return sum(client.retries for client in self.clients)

    def faults(self) -> list[tuple[int, bytes]]:
        """Return the answers that no client expects."""
        return [fault for client in self.clients for fault in client.faults]

    def seconds(self, tenants: list[Tenant], since: float, until: float) -> list[float]:
        """Return how long each event took that was begun in a span, from its first try to its answer."""
        return [
            one.seconds
            for tenant in tenants
            for one in list(tenant.acknowledged.values())
            if since <= one.begun_at < until
        ]

    def _unscored(self, marks: list[str]) -> int:
        scored = self.system.rows(
            f"SELECT DISTINCT {_MARK} FROM events_event e JOIN scoring_scoreentry s"
            " ON s.workspace_id = e.workspace_id AND s.event_id = e.id WHERE e.source <> 'system'"
        )
        return len(set(marks) - {mark for (mark,) in scored})

    def _run(self, work: Callable[[Client, Tenant], None], tenant: Tenant) -> None:
        client = Client(self.system, tenant.id, tenant.secret)
        self.clients.append(client)
        try:
            with closing(client):
                while not self._stop.is_set():
                    work(client, tenant)
        except BaseException as error:  # shown by the test's own thread
            self.errors.append(error)

    def _send_singles(self, client: Client, tenant: Tenant) -> None:
        number = next(self._numbers)
        shape, path, is_keyed = _SINGLES[number % len(_SINGLES)]
        name = _name(number)
        mark, contact = f"single-{number}", tenant.next_contact()
        body = tenant.body(shape, name, mark, contact)
        begun = time.monotonic()
        client.post(path, body, attempts_seconds=GIVE_UP_SECONDS, is_keyed=is_keyed)
        tenant.acknowledged[mark] = Acknowledged(name, contact, begun, time.monotonic())
        self._stop.wait(SINGLE_PAUSE_SECONDS)

    def _send_batches(self, client: Client, tenant: Tenant) -> None:
        chosen = {next(self._numbers): tenant.next_contact() for _ in range(BATCH)}
        items = [
            tenant.body("item", _name(number), f"item-{number}", contact)
            for number, contact in chosen.items()
        ]
        begun = time.monotonic()
        answer = client.post(
            "events/batch", {"events": items}, attempts_seconds=GIVE_UP_SECONDS, is_keyed=False
        )
        statuses = {one["status"] for one in answer["results"]}
        assert statuses <= {"recorded", "duplicate"}, answer
        answered = time.monotonic()
        for number, contact in chosen.items():
            tenant.acknowledged[f"item-{number}"] = Acknowledged(_name(number), contact, begun, answered)
        self._stop.wait(BATCH_PAUSE_SECONDS)


@dataclass
class Fault:
    """What happens to a running Headrace; `concerned`: the tenants whose own it is, None: everybody's."""

    scenario: str
    traffic: Traffic
    mail: MailServer | None = None
    concerned: list[Tenant] | None = None
    idle_seconds: float = 10.0
    began: float = 0.0
    ended: float = 0.0
    recovery_seconds: float = 0.0
    differences: tuple[object, ...] = ()
    """Of what there is too little and too much, where there is."""

    @contextmanager
    def happening(self) -> Iterator[None]:
        """Have the block be the fault's time, after some of peace."""
        self.traffic.wait_for_more(20)
        time.sleep(self.idle_seconds)
        self.began = time.monotonic()
        yield
        self.ended = time.monotonic()

    def reckon(self, system: System) -> Outcome:
        """Wait until all is quiet, and count. The clients have stopped."""
        settled = 0
        with closing(Client(system)) as client:
            deadline = time.monotonic() + GIVE_UP_SECONDS
            while (stuck := _stuck(system)) and time.monotonic() < deadline:
                settled += self._settle(client)
                time.sleep(0.5)
        tenants = self.traffic.tenants
        taken = {mark: one for tenant in tenants for mark, one in tenant.acknowledged.items()}
        stored = Counter(dict(system.rows(_STORED)))
        expected, done = _expected(taken), _done(system, self._received(system))
        lost, twice = Counter(taken.keys()) - stored, stored - Counter(taken.keys())
        missing, surplus = expected - done, done - expected
        self.differences = tuple(list(one.items())[:5] for one in (lost, twice, missing, surplus))
        return Outcome(
            self.scenario,
            acknowledged=len(taken),
            stored=stored.total(),
            effects=done.total(),
            expected=expected.total(),
            lost=lost.total() + missing.total(),
            twice=twice.total() + surplus.total(),
            stuck=stuck,
            settled=settled,
            recovery_seconds=self.recovery_seconds,
            slowdown=_p95(self._meanwhile()) / _p95(self._at_rest()),
            p95_seconds=_p95(self._meanwhile()),
            concerns_all=self.concerned is None,
        )

    def wait_until_recovered(self) -> None:
        """Note how long it takes until all is as before, and have some peace again to compare with."""
        self.recovery_seconds = self.traffic.wait_until_recovered(self.ended)
        time.sleep(self.idle_seconds / 2)

    def _unconcerned(self) -> list[Tenant]:
        return [one for one in self.traffic.tenants if one not in (self.concerned or [])]

    def _meanwhile(self) -> list[float]:
        return self.traffic.seconds(self._unconcerned(), self.began, self.ended)

    def _at_rest(self) -> list[float]:
        recovered = self.ended + self.recovery_seconds  # for ever, where nothing did
        before = self.traffic.seconds(self._unconcerned(), self.began - self.idle_seconds, self.began)
        return before + self.traffic.seconds(self._unconcerned(), recovered, time.monotonic())

    def _received(self, system: System) -> Counter[str]:
        """Return how often each message arrived, by its id."""
        if self.mail is None:
            return Counter(
                message for (message,) in system.rows("SELECT message_id::text FROM campaigns_sentemail")
            )
        return Counter(_message_of(envelope) for envelope in self.mail.mailbox.envelopes)

    def _settle(self, client: Client) -> int:
        """Say of each message of which nobody knows whether it left what its receiver says; as an operator does.

        The local inbox is Headrace's own, so of its messages nothing is left for anybody to say.
        """
        if self.mail is None:
            return 0
        got = self._received(client.system)
        unknown = client.system.rows(
            "SELECT workspace_id::text, id::text FROM campaigns_message WHERE status = 'UNKNOWN'"
        )
        for workspace, message in unknown:
            tenant = next(one for one in self.traffic.tenants if one.id == workspace)
            client.workspace, client.secret = workspace, tenant.secret
            client.post(f"messages/{message}/settle", {"wasSent": message in got}, attempts_seconds=60)
        return len(unknown)


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else float("inf")


def _name(number: int) -> str:
    return GREETED if number % ONE_GREETS_IN == 0 else ACTED


def _expected(taken: dict[str, Acknowledged]) -> Counter[tuple[str, str]]:
    """Return what is to follow, by kind and mark, or contact: how often, or how many points."""
    effects: Counter[tuple[str, str]] = Counter()
    for mark, one in taken.items():
        effects["entry", mark] = 1
        effects["points", one.contact] += 1
        if one.name == ACTED:
            effects["member", one.contact] = 1
        else:
            effects.update((kind, mark) for kind in ("run", "message", "e-mail", "note"))
    return effects


def _done(system: System, received: Counter[str]) -> Counter[tuple[str, str]]:
    """Return what has followed, as `_expected` does."""
    effects = Counter(
        {
            (kind, mark): count
            for kind, statement in _EFFECTS.items()
            for mark, count in system.rows(statement)
        }
    )
    for mark, message in system.rows(_MESSAGE_OF_MARK):
        effects["e-mail", mark] += received[message]
    return effects


def _message_of(envelope: Any) -> str:
    """Return the id of the message that an e-mail is, by its Message-ID."""
    lines = bytes(envelope.content).decode(errors="replace").splitlines()
    line = next(one for one in lines if one.lower().startswith("message-id:"))
    return line.split("<")[1].split("@")[0]


def _stuck(system: System) -> int:
    """Return how much is not at its end, of everything that should be."""
    ((stuck,),) = system.rows(
        "SELECT (SELECT count(*) FROM events_eventbatch) + (SELECT count(*) FROM events_parkedeffect)"
        " + (SELECT count(*) FROM campaigns_enrollment WHERE status = 'open')"
        " + (SELECT count(*) FROM campaigns_message WHERE status <> 'SENT')"
    )
    return int(stuck)


_SINGLES = (
    # Format, path, whether the request has an Idempotency-Key; what has none has a message id.
    ("native", "events", True),
    ("omnisend", "/omnisend/v4/track", False),
    ("suresend", "/suresend/api/partner/events", True),
)
_MARK = "COALESCE(e.properties ->> 'mark', e.properties -> 'metadata' ->> 'mark')"
_EVENTS = f"events_event e WHERE e.name IN ('{ACTED}', '{GREETED}')"
_STORED = f"SELECT {_MARK}, count(*)::int FROM {_EVENTS} GROUP BY 1"


def _of_marks(table: str, on: str) -> str:
    joined = f"events_event e JOIN {table} t ON t.workspace_id = e.workspace_id AND {on}"
    return f"SELECT {_MARK}, count(*)::int FROM {joined} WHERE e.source <> 'system' GROUP BY 1"


_MESSAGES = (
    "(SELECT r.workspace_id, r.event_id, m.id, m.status"
    " FROM campaigns_enrollment r JOIN campaigns_message m ON m.workspace_id ="
    " r.workspace_id AND m.enrollment_id = r.id)"
)
_EFFECTS = {
    "entry": _of_marks("scoring_scoreentry", "t.event_id = e.id AND t.points = 1"),
    "points": "SELECT contact_id::text, points::int FROM contacts_contactscore",
    "member": "SELECT m.contact_id::text, count(*)::int FROM segments_membership m"
    " JOIN segments_segment s ON s.workspace_id = m.workspace_id AND s.version = m.version GROUP BY 1",
    "run": _of_marks("campaigns_enrollment", "t.event_id = e.id AND t.status = 'completed'"),
    "message": _of_marks(_MESSAGES, "t.event_id = e.id AND t.status = 'SENT'"),
    "note": _of_marks("events_event", "t.cause_id = e.id AND t.name = 'mark' AND t.source = 'system'"),
}
_MESSAGE_OF_MARK = (
    f"SELECT {_MARK}, t.id::text FROM events_event e JOIN {_MESSAGES} t"
    " ON t.workspace_id = e.workspace_id AND t.event_id = e.id"
)
