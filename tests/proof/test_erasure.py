"""Nothing of an erased person is left in any table, and the person does not come back."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from urllib.parse import quote

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction

from campaigns.models import (
    Broadcast,
    Campaign,
    CampaignVersion,
    Decision,
    Enrollment,
    Form,
    FormSubmission,
    Message,
    SentEmail,
    Suppression,
)
from config import clock
from config.errors import DomainError
from contacts.companies import link_companies
from contacts.crud import create_contact, set_consent, update_contact, upsert_contact
from contacts.erasure import erasures as erasure_service
from contacts.erasure.erasures import ERASURES, erase_person, resolve_erasures
from contacts.errors import PersonErased
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Contact, ContactScore, ErasedIdentifier, Erasure
from contacts.references import ContactChanges
from contacts.tombstones import delete_tombstones, digests_of
from events.models import Event, ParkedEffect
from events.processing.passes import apply_effects
from events.stream.outbox import lane_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from segments.definitions import create_segment
from segments.models import Segment
from segments.static_members import add_members
from tests.admin.confirming import confirm, post_and_confirm
from tests.campaigns.factories import (
    a_campaign,
    definition,
    enrollments_of,
    marks,
    messages_of,
    node,
    sends,
    work,
)
from tests.campaigns.messages import deliver_ready
from tests.config.runtime.test_supervisor import ROOT, wait_for
from tests.contacts.erasure.exports import exported
from tests.contacts.factories import a_contact, by_email, resolve_company
from tests.native import NativeClient
from tests.scale import IS_WHOLE
from tests.segments.factories import a_segment, did, every
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import User

WORD = "zaphod"
EMAIL = f"{WORD}@betelgeuse.test"
PHONE = "+12025550142"
MERGED_EMAIL = f"{WORD}.b@betelgeuse.test"


@pytest.fixture
def workspace(db):
    return WorkspaceFactory.create()


@pytest.fixture
def client(workspace):
    return NativeClient(workspace)


class Full:
    """A person of two merged contacts, of whom every table of the house has something."""

    def __init__(self, workspace, client):
        self.workspace = workspace
        self.other = a_contact(workspace, "trillian@earth.test", first_name="Tricia")
        ScoringRule.objects.create(
            workspace=workspace,
            name="Purchase",
            event_name="purchase",
            points=5,
            decay_points=1,
            decay_days=3,
        )
        a_segment(workspace, every(did("purchase", timeWindow="7d")))
        a_segment(workspace, every(did("purchase", operator="gte", value=1)))
        self.contact = create_contact(
            workspace,
            ContactChanges(
                first_name=WORD,
                attributes={"home": WORD},
                identifiers=(("email", EMAIL), ("phone", PHONE), ("external_id", "42")),
                tags=("vip",),
            ),
        )
        self.merged = a_contact(workspace, MERGED_EMAIL, last_name=WORD)
        merge_contacts(workspace.id, self.contact, self.merged, by="staff")
        undo_merge(workspace.id, merge_contacts(workspace.id, self.other, self.merged_before()))
        set_consent(workspace.id, self.contact, "email", "opted_in")
        company, _ = resolve_company(workspace.id, name="Heart of Gold")
        link_companies(workspace.id, [(self.contact.id, company.id)])
        static = create_segment(workspace.id, name="Static", evaluation=Segment.Evaluation.STATIC)
        add_members(workspace.id, static, contact_ids=[self.contact.id])
        for contact_id, email in zip(self.ids, (EMAIL, MERGED_EMAIL), strict=True):
            client.post(
                "events",
                {"type": "purchase", "contactId": str(contact_id), "metadata": {"who": WORD}},
                HTTP_IDEMPOTENCY_KEY=f"key-{email}",
            )
        client.post("contacts", {"email": "zz@earth.test"}, HTTP_IDEMPOTENCY_KEY="another's")
        client.post(
            "events", {"type": "seen", "contactId": str(self.contact.id)}, HTTP_IDEMPOTENCY_KEY="neutral"
        )
        apply_effects(workspace.id)
        self._messages()
        self._admin_log()
        event = Event.objects.filter(contact_id=self.contact.id, name="purchase").latest("id")
        stranger = Event.objects.filter(contact_id=self.other.id).latest("id")
        self.kept_event = stranger.id
        ParkedEffect.objects.create(
            workspace=workspace,
            effect="some.effect",
            subject="rule:1",
            event_ids=[event.id, stranger.id],
            error=f"DataError: {WORD}",
        )

    def merged_before(self):
        """A contact that was somebody else's once: the merge was undone, and it is merged here now."""
        once = a_contact(self.workspace, f"{WORD}.c@betelgeuse.test", first_name=WORD, attributes={"x": WORD})
        self.once = once
        return once

    @property
    def ids(self):
        return [self.contact.id, self.merged.id]

    def _messages(self):
        workspace, contact = self.workspace, self.contact
        campaign = Campaign.objects.create(workspace=workspace, name="Welcome")
        version = CampaignVersion.objects.create(
            workspace=workspace, campaign=campaign, number=1, definition={}
        )
        Broadcast.objects.create(
            workspace=workspace, campaign=campaign, due_at=clock.now(), contact_ids=[*self.ids, self.other.id]
        )
        run = Enrollment.objects.create(
            workspace=workspace, campaign=campaign, version=version, contact=self.merged, key="1"
        )
        Decision.objects.create(
            workspace=workspace,
            campaign=campaign,
            contact=contact,
            kind="sent",
            enrollment_id=run.id,
            detail={"to": EMAIL},
        )
        message = Message.objects.create(
            workspace=workspace, contact=contact, key="1", channel="email", address=EMAIL, body=f"Dear {WORD}"
        )
        mine = {"workspace_id": workspace.id, "sender": "us@ours.test"}
        SentEmail.objects.create(
            **mine, message_id=message.id, recipients=[EMAIL], source=f"To: {EMAIL}".encode()
        )
        SentEmail.objects.create(**mine, recipients=[f"Z <{EMAIL.upper()}>"], source=EMAIL.encode())
        other = Message.objects.create(
            workspace=workspace, contact=self.other, key="2", channel="email", address="trillian@earth.test"
        )
        SentEmail.objects.create(**mine, message_id=other.id, recipients=[other.address], source=b"")
        form = Form.objects.create(workspace=workspace, name="Newsletter")
        FormSubmission.objects.create(
            workspace=workspace, form=form, contact=contact, answers={"email": EMAIL}
        )
        Suppression.objects.create(workspace=workspace, address=EMAIL)

    def _admin_log(self):
        staff = User.objects.create(username="staff")
        for thing, words in ((self.contact, str(self.contact)), (self.other, f"wrote to {EMAIL}")):
            LogEntry.objects.create(
                user=staff,
                content_type=ContentType.objects.get_for_model(Contact),
                object_id=str(thing.pk),
                object_repr=words,
                action_flag=2,
                change_message=f'[{{"changed": {{"object": "email {EMAIL}"}}}}]',
            )


def rows_that_name(*words):
    """Return each table and row whose text has one of the words, whatever the columns."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            # Bytes as text, so that what is kept in them is seen too.
            cursor.execute(f"SELECT set_config('bytea_output', 'escape', true), t::text FROM {table} t")
            found += [
                (table, text) for _, text in cursor.fetchall() if any(word in text.lower() for word in words)
            ]
    return found


def rows_of_contacts(ids):
    """Return the tables that still have a row of these contacts."""
    return sorted(
        model.__name__
        for model in apps.get_models()
        for field in model._meta.fields
        if field.column in ("contact_id", "survivor_id", "merged_id")
        and model.objects.filter(**{f"{field.attname}__in": ids}).exists()
    )


@pytest.mark.django_db
def test_no_table_has_anything_of_an_erased_person(workspace, client):
    full = Full(workspace, client)
    strangers = rows_that_name("trillian")
    assert {table for table, _ in rows_that_name(WORD, str(full.contact.id))} >= {
        "contacts_contact",
        "contacts_identifier",
        "events_event",
        "events_idempotencykey",
        "events_parkedeffect",
        "campaigns_message",
        "campaigns_sentemail",
        "campaigns_formsubmission",
        "campaigns_suppression",
        "django_admin_log",
    }
    assert {
        "Enrollment",
        "Decision",
        "Membership",
        "MembershipPeriod",
        "ScoreEntry",
        "ContactAggregate",
        "Timer",
    } <= set(rows_of_contacts(full.ids))
    erase_person(workspace.id, full.once)

    erasure = erase_person(workspace.id, full.merged, by="the person")

    assert rows_of_contacts([*full.ids, full.once.id]) == []
    left = rows_that_name(WORD, PHONE, *(str(one) for one in (*full.ids, full.once.id)))
    # The ids that the contacts had: in the receipt, and that staff did something to one.
    assert {table for table, _ in left} == {"contacts_erasure", "django_admin_log"}
    assert not any(WORD in text for _, text in left)
    assert set(erasure.contact_ids) == set(full.ids)
    assert erasure.removed["contacts"] == 2
    assert erasure.removed["messages"] == 1
    assert erasure.removed["sentEmails"] == 2
    assert erasure.removed["runs"] == erasure.removed["suppressions"] == 1
    assert erasure.removed["events"] > 4
    # Nobody else lost anything but what was the person's.
    kept = rows_that_name("trillian")
    assert [table for table, _ in kept] == [table for table, _ in strangers]
    assert ParkedEffect.objects.get().event_ids == [full.kept_event]
    assert Broadcast.objects.get().contact_ids == [full.other.id]
    apply_effects(workspace.id)
    assert rows_of_contacts(full.ids) == []


@pytest.mark.django_db
def test_a_repeated_request_is_still_answered_once(workspace, client):
    full = Full(workspace, client)
    erase_person(workspace.id, full.contact)
    before = Event.objects.count()

    body = {"type": "seen", "contactId": str(full.contact.id)}
    again = client.post("events", body, HTTP_IDEMPOTENCY_KEY="neutral")

    assert (again.status_code, again.content) == (201, b"{}")
    assert Event.objects.count() == before
    other = client.post("contacts", {"email": "zz@earth.test"}, HTTP_IDEMPOTENCY_KEY="another's")
    assert b"zz@earth.test" in other.content or other.status_code == 409


def _upsert(workspace):
    upsert_contact(workspace.id, "phone", "+1 (202) 555-0142", ContactChanges())


def _create(workspace):
    create_contact(workspace, ContactChanges(identifiers=(("email", EMAIL.upper()),)))


def _tell(workspace):
    other = a_contact(workspace, "ford@earth.test")
    update_contact(workspace.id, other, ContactChanges(identifiers=(("external_id", "42"),)))


def _send(workspace):
    incoming = IncomingEvent("purchase", by_email(EMAIL))
    record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN)


@pytest.mark.django_db
@pytest.mark.parametrize("way_in", [_upsert, _create, _tell, _send], ids=lambda way: way.__name__)
def test_an_erased_person_is_not_stored_again(workspace, client, way_in):
    erase_person(workspace.id, Full(workspace, client).contact)

    with pytest.raises(PersonErased), transaction.atomic():
        way_in(workspace)

    assert not Contact.objects.filter(identifiers__value__in=[EMAIL, PHONE, "42"]).exists()


@pytest.mark.django_db
def test_in_a_batch_only_the_erased_are_refused(workspace, client):
    erase_person(workspace.id, Full(workspace, client).contact)

    outcomes = record_events(
        workspace.id,
        [IncomingEvent("purchase", by_email(one)) for one in ("a@earth.test", EMAIL, MERGED_EMAIL)],
        schema_policy=SchemaPolicy.OPEN,
    )

    assert [one.status for one in outcomes] == ["recorded", "refused", "refused"]
    assert all(isinstance(one.error, PersonErased) for one in outcomes[1:])


@pytest.mark.django_db
def test_who_wishes_to_come_back_may(workspace, client):
    erase_person(workspace.id, Full(workspace, client).contact)
    assert delete_tombstones(workspace.id, [("email", EMAIL)]) == 1

    contact, is_new = upsert_contact(workspace.id, "email", EMAIL, ContactChanges())

    assert is_new
    assert contact.email == EMAIL


@pytest.mark.django_db
def test_a_tombstone_tells_nothing_and_holds_in_its_workspace_only(workspace, client, settings):
    erase_person(workspace.id, Full(workspace, client).contact)
    elsewhere = WorkspaceFactory.create()

    assert upsert_contact(elsewhere.id, "email", EMAIL, ContactChanges())[1]
    assert {len(bytes(one.digest)) for one in ErasedIdentifier.objects.all()} == {32}
    # Four identifiers, and the ids of the two contacts that the person was.
    assert ErasedIdentifier.objects.count() == 4 + 2
    settings.ERASURE_KEY = "another"
    assert upsert_contact(workspace.id, "email", EMAIL, ContactChanges())[1]


@pytest.mark.django_db
def test_an_export_has_all_that_an_erasure_removes(workspace, client):
    full = Full(workspace, client)

    known = exported(workspace.id, full.contact)
    removed = erase_person(workspace.id, full.contact).removed

    names_no_rows = {
        "broadcasts",
        "adminLog",
        "eventsOfOthers",
        "idempotencyKeys",
        "idempotencyAnswers",
        "parkedEffects",
        "sentEmails",
    }
    for name, count in removed.items():
        if name not in names_no_rows:
            assert len(known[name]) == count, name
    assert {one["value"] for one in known["identifiers"]} == {EMAIL, MERGED_EMAIL, PHONE, "42"}
    assert known["tags"] == ["vip"]
    assert known["companies"] == ["Heart of Gold"]
    assert any(event["properties"].get("who") == WORD for event in known["events"])


@pytest.mark.django_db
def test_what_was_under_way_is_removed_when_it_comes_in(workspace, client, monkeypatch):
    full = Full(workspace, client)
    erasure = erase_person(workspace.id, full.contact)
    late = {"workspace": workspace, "contact": full.contact}
    Event.objects.bulk_create([Event(name="late", **late)])
    Message.objects.create(key="late", channel="email", address=EMAIL, **late)
    SentEmail.objects.create(
        workspace_id=workspace.id, message_id=full.other.id, recipients=[EMAIL], source=b"", sender=""
    )

    assert resolve_erasures() == 3
    assert resolve_erasures() == 0
    erasure.refresh_from_db()
    assert erasure.settled_at is None
    assert rows_of_contacts(full.ids) == []
    assert rows_that_name(EMAIL) == []

    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    resolve_erasures()
    erasure.refresh_from_db()
    assert erasure.settled_at == later
    assert erasure.removed["sentEmails"] == 3


@pytest.mark.django_db
def test_many_rows_go_some_at_a_time_and_the_receipt_counts_all(workspace, client, monkeypatch):
    full = Full(workspace, client)
    erase_person(workspace.id, full.once)
    known = exported(workspace.id, full.contact)
    monkeypatch.setattr(erasure_service, "BATCH_ROWS", 2)

    erasure = erase_person(workspace.id, full.contact)

    assert (erasure.status, erasure.cursor) == ("done", None)
    assert {name: erasure.removed[name] for name in ("events", "decisions", "contacts", "identifiers")} == {
        name: len(known[name]) for name in ("events", "decisions", "contacts", "identifiers")
    }
    assert erasure.removed["events"] > 4
    assert rows_of_contacts(full.ids) == []
    assert not any(WORD in text for _, text in rows_that_name(WORD, EMAIL))


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_a_long_erasure_and_nothing_comes_in(client, workspace, monkeypatch):
    full = Full(workspace, client)
    erase_person(workspace.id, full.once)
    monkeypatch.setattr(erasure_service, "BATCH_ROWS", 2)

    receipt = erase_person(workspace.id, full.contact, at_most_seconds=0)

    assert receipt.status == "running"
    assert client.get(f"erasures/{receipt.id}").json()["status"] == "running"
    assert resolve_erasures() == 0
    assert client.get(f"contacts/{full.contact.id}").status_code == 404
    with pytest.raises(PersonErased):
        send_once(workspace)
    neighbour = next(one for one in iter(partial(a_contact, workspace), None) if same_lane(one, full.contact))
    client.post("events", {"type": "purchase", "contactId": str(neighbour.id)})
    apply_effects(workspace.id)
    assert ContactScore.objects.get(contact=neighbour).points == 5

    assert ERASURES.run_all(at_most_seconds=0) == "more"
    assert ERASURES.run_all() == "done"
    assert ERASURES.run_all() == "nothing"
    receipt.refresh_from_db()
    assert (receipt.status, receipt.cursor) == ("done", None)
    assert rows_of_contacts(full.ids) == []
    assert not any(WORD in text for _, text in rows_that_name(WORD, EMAIL))


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_killed_erasure_is_gone_on_with(workspace):
    contact = a_contact(workspace, EMAIL)
    times = 3 if IS_WHOLE else 1
    rows = 40_000 * times  # enough for a process to be killed before it is done
    with connection.cursor() as cursor:
        cursor.execute(_MANY_EVENTS, [workspace.id, contact.id, rows])
    kills = 0
    while kills < times:
        command = ["erase_person", EMAIL] if not kills else ["shell", "--no-imports", "-c", CONTINUE]
        options = [f"--workspace={workspace.id}"] if not kills else []
        environment = {**os.environ, "DATABASE_URL": address_of_database()}
        before = removed_so_far()
        with subprocess.Popen(
            [sys.executable, "manage.py", *command, *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
        ) as erasing:
            wait_for(lambda before=before: removed_so_far() > before, 60)
            erasing.kill()
        kills += 1
    receipt = Erasure.objects.get()
    left = Event.objects.filter(contact_id=contact.id).count()
    assert receipt.status == "running"
    assert 0 < left == rows + 1 - receipt.removed["events"]

    assert ERASURES.run_all() == "done"

    receipt.refresh_from_db()
    assert (receipt.status, receipt.cursor) == ("done", None)
    # Its own creation is an event too.
    assert receipt.removed == {"events": rows + 1, "messageKeys": rows, "identifiers": 1, "contacts": 1}
    assert rows_of_contacts([contact.id]) == []
    assert rows_that_name(EMAIL) == []


CONTINUE = "from contacts.erasure.erasures import ERASURES; ERASURES.run_all()"
_MANY_EVENTS = """
WITH event AS (
    INSERT INTO events_event (id, workspace_id, contact_id, name, properties, context, occurred_at, received_at,
        source, message_id, depth)
    SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
        %s, %s, 'seen', '{}', '{}', now(), now(), 'api', 'm' || n, 0
    FROM generate_series(1, %s) n
    RETURNING id, workspace_id, message_id
)
INSERT INTO events_messagekey (id, workspace_id, key, event_id)
SELECT gen_random_uuid(), workspace_id, message_id, id FROM event
"""


def address_of_database():
    """Return where the test's database is, for a process of its own."""
    at = connection.get_connection_params()
    user, password, host = (quote(str(at.get(name) or ""), safe="") for name in ("user", "password", "host"))
    return f"postgres://{user}:{password}@/{at['dbname']}?host={host}&port={at.get('port') or 5432}"


def removed_so_far():
    return Erasure.objects.get().removed.get("events", 0) if Erasure.objects.exists() else 0


def same_lane(one, other):
    return lane_of(one.id) == lane_of(other.id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(3))
def test_erased_between_events_and_their_effects(repetition):
    workspace = WorkspaceFactory.create()
    ScoringRule.objects.create(workspace=workspace, name="Any", event_name="purchase", points=1)
    a_segment(workspace, every(did("purchase", timeWindow="7d")))
    contact = a_contact(workspace, EMAIL)

    def send():
        with suppress(DomainError):
            for _ in range(30):
                with transaction.atomic():
                    record_event(
                        workspace,
                        IncomingEvent("purchase", by_email(EMAIL), properties={"who": WORD}),
                        schema_policy=SchemaPolicy.OPEN,
                    )

    def erase():
        with suppress(OperationalError):
            return erase_person(workspace.id, contact)

    def work():
        for _ in range(5):
            apply_effects(workspace.id)

    _, _, erasure, _, problem = in_threads(send, send, erase, work, work)

    assert isinstance(erasure, Erasure), (erasure, problem)
    resolve_erasures()
    apply_effects(workspace.id)
    assert rows_of_contacts([contact.id]) == []
    assert rows_that_name(WORD) == []
    with pytest.raises(PersonErased):
        send_once(workspace)


def send_once(workspace):
    record_event(workspace, IncomingEvent("purchase", by_email(EMAIL)), schema_policy=SchemaPolicy.OPEN)


def in_threads(*calls):
    start = threading.Barrier(len(calls))

    def run(call):
        try:
            start.wait(10)
            return call()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(run, call) for call in calls]]


@pytest.mark.django_db
def test_the_api_exports_erases_and_shows_the_receipt(workspace, client):
    full = Full(workspace, client)

    known = client.get(f"contacts/{full.contact.id}/export").json()
    assert {EMAIL, MERGED_EMAIL} <= {one["value"] for one in known["identifiers"]}
    receipt = client.post(f"contacts/{full.contact.id}/erase", {}).json()

    assert set(receipt["contactIds"]) == {str(one) for one in full.ids}
    assert receipt["removed"]["contacts"] == 2
    assert client.get(f"erasures/{receipt['id']}").json() == receipt
    assert client.get(f"contacts/{full.contact.id}").status_code == 404
    assert client.post(f"contacts/{full.contact.id}/erase", {}).status_code == 404
    assert client.post("contacts", {"email": EMAIL}).status_code == 409


@pytest.mark.django_db
def test_the_commands_erase_and_let_come_back(workspace, client, capsys):
    full = Full(workspace, client)
    options = {"workspace": str(workspace.id)}
    call_command("export_person", EMAIL, **options)
    assert WORD in capsys.readouterr().out
    call_command("erase_person", EMAIL, dry_run=True, **options)
    assert Contact.objects.filter(id=full.contact.id).exists()
    call_command("erase_person", str(full.contact.id), **options)
    assert "2 contacts" in capsys.readouterr().out
    assert not Contact.objects.filter(id__in=full.ids).exists()
    with pytest.raises(CommandError):
        call_command("erase_person", EMAIL, **options)

    call_command("erase_person", EMAIL.upper(), "never@earth.test", lift="email", **options)
    assert "1 may be stored again, 1 were never erased" in capsys.readouterr().out


@pytest.mark.django_db
def test_staff_erase_after_confirming(workspace, client, admin_client):
    full = Full(workspace, client)
    page = "/admin/contacts/contact/"
    chosen = {"action": "erase_chosen", "_selected_action": [str(full.contact.id)]}

    asked = admin_client.post(page, chosen)
    assert b"cannot be undone" in asked.content
    assert Contact.objects.filter(id=full.contact.id).exists()
    assert EMAIL.encode() in asked.content
    admin_client.post(page, {**chosen, "confirmed": "yes"})
    assert Contact.objects.filter(id=full.contact.id).exists()
    confirm(admin_client, asked)

    assert not Contact.objects.filter(id__in=full.ids).exists()
    receipt = Erasure.objects.get()
    assert receipt.by == "admin"
    assert admin_client.get(f"/admin/contacts/erasure/{receipt.id}/change/").status_code == 200
    assert (
        str(receipt.id) in admin_client.get(f"/admin/contacts/erasure/?q={full.contact.id}").content.decode()
    )
    form = {"workspace": str(workspace.id), "contact": str(full.other.id), "kind": "email", "value": EMAIL}
    refused = admin_client.post("/admin/contacts/identifier/add/", form)
    assert b"was erased" in refused.content
    erased = "/admin/contacts/erasedidentifier/"
    tombstone = ErasedIdentifier.objects.get(digest=next(iter(digests_of(workspace.id, [("email", EMAIL)]))))
    assert str(tombstone.id) in admin_client.get(erased, {"q": EMAIL.upper()}).content.decode()
    assert str(tombstone.id) not in admin_client.get(erased, {"q": "ford@earth.test"}).content.decode()
    post_and_confirm(admin_client, erased, {"action": "lift", "_selected_action": [str(tombstone.id)]})
    assert a_contact(workspace, EMAIL).email == EMAIL


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(3))
def test_erased_while_runs_are_under_way_and_messages_leave(repetition):
    workspace = WorkspaceFactory.create()
    tags = node("tag", "tag", add=["x"])
    campaign = a_campaign(workspace, definition(sends(workspace, body=f"<p>{WORD}"), tags, marks()))
    people = [a_contact(workspace, EMAIL), *(a_contact(workspace, f"p{n}@earth.test") for n in range(4))]

    def send():
        incoming = [IncomingEvent("go", by_email(one.email)) for one in people]
        record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)

    def leave():
        for _ in range(3):
            deliver_ready(workspace.id, "email")

    send()
    outcomes = in_threads(
        send,
        lambda: work(workspace),
        lambda: work(workspace),
        leave,
        lambda: erase_person(workspace.id, people[0]),
    )

    assert [one for one in outcomes if isinstance(one, Exception)] == []
    resolve_erasures()
    work(workspace)
    deliver_ready(workspace.id, "email")
    resolve_erasures()
    assert rows_of_contacts([people[0].id]) == []
    assert rows_that_name(EMAIL) == []
    for one in people[1:]:
        statuses = [(run.status, run.end_reason) for run in enrollments_of(campaign, one)]
        assert statuses == [("completed", "end_of_workflow")] * 2
    assert {message.status for message in messages_of(campaign)} == {"SENT"}
    assert len(messages_of(campaign)) == 8
