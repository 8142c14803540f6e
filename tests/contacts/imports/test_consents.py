"""What a file says of consents counts where nothing newer is known."""

import itertools
import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from campaigns.messaging.suppressions import set_preferences, suppress, unsubscribe
from campaigns.models import Suppression
from config import clock
from contacts.crud import set_consent
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Consent, Contact, Import
from contacts.queries import with_details
from events.models import Event
from tests.contacts.factories import a_contact
from tests.contacts.imports.files import refused_rows, run
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
IN, OUT = Consent.Status.OPTED_IN, Consent.Status.OPTED_OUT
JUNE = datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def load(tmp_path, workspace):
    """Return what imports a text."""
    numbers = itertools.count()

    def load(content, into=workspace, **options):
        path = tmp_path / f"file{next(numbers)}"
        path.write_text(content)
        return run("import_contacts", path, into, **options)

    return load


@pytest.fixture
def jane(workspace):
    """Return a contact."""
    return a_contact(workspace, "jane@x.test")


def rows(*said):
    """Return a file of what Jane said: pairs of a status and a time, where that is known."""
    lines = [f"jane@x.test,{status},{at.isoformat() if at else ''}\n" for status, at in said]
    return "email,consents.email,consents.email.at\n" + "".join(lines)


def known(workspace, email="jane@x.test"):
    """Return what is known of somebody's consent: status, time, and whether that is known; None: nothing."""
    contacts = with_details(Contact.objects.in_workspace(workspace.id).canonical())
    (contact,) = [contact for contact in contacts if contact.email == email]
    return next(
        ((consent.status, consent.changed_at, consent.is_dated) for consent in contact.known_consents), None
    )


def ways_to_opt_out():
    """Return by name how a person opts out."""
    return {
        "link": lambda workspace, jane: unsubscribe(workspace.id, jane.id, "email"),
        "preferences": lambda workspace, jane: set_preferences(workspace.id, jane.id, {"email": False}),
        "api": lambda workspace, jane: set_consent(workspace.id, jane, "email", OUT),
    }


@pytest.mark.parametrize("way", sorted(ways_to_opt_out()))
@pytest.mark.parametrize(
    "at", [None, JUNE, "a day before"], ids=["without a time", "of long ago", "of the day before"]
)
def test_an_old_list_does_not_opt_in_again_who_opted_out_since(workspace, load, jane, way, at):
    at = clock.now() - timedelta(days=1) if at == "a day before" else at
    assert load(rows((IN, at)))[0] == 0
    assert known(workspace)[0] == IN
    ways_to_opt_out()[way](workspace, jane)
    before = known(workspace)
    assert before[0] == OUT
    status, out, _ = load(rows((IN, at)), restart=True)
    assert (status, out.partition(": ")[2]) == (0, "1 rows, 0 made, 1 known, 0 refused")
    assert known(workspace) == before
    assert Event.objects.filter(name="contact.subscribed").count() == 1


def test_the_rest_of_such_a_row_counts(workspace, load, jane):
    unsubscribe(workspace.id, jane.id, "email")
    load("email,first_name,plan,consents.email,consents.sms\njane@x.test,Jane,pro,subscribed,subscribed\n")
    jane = with_details(Contact.objects.all()).get()
    assert (jane.first_name, jane.attributes, jane.consent("email"), jane.consent("sms")) == (
        "Jane",
        {"plan": "pro"},
        OUT,
        IN,
    )


def test_an_opt_in_that_is_newer_than_the_opt_out_counts(workspace, load, jane):
    unsubscribe(workspace.id, jane.id, "email")
    at = clock.now()
    load(rows((IN, at)))
    assert known(workspace) == (IN, at, True)


def test_an_option_lets_the_file_count_whatever_is_known(workspace, load, jane):
    unsubscribe(workspace.id, jane.id, "email")
    content = rows((IN, None))
    load(content)
    assert known(workspace)[0] == OUT
    load(content, consents="overwrite")
    assert known(workspace)[0] == IN
    unsubscribe(workspace.id, jane.id, "email")
    load(rows((IN, JUNE)), consents="overwrite")
    assert known(workspace) == (IN, JUNE, True)


def test_an_import_with_another_option_does_not_go_on_where_the_first_one_stopped(workspace, load, jane):
    unsubscribe(workspace.id, jane.id, "email")
    content = rows((IN, None))
    load(content)
    Import.objects.update(status=Import.Status.RUNNING)
    load(content, consents="overwrite")
    assert known(workspace)[0] == IN
    assert Import.objects.count() == 2


def test_an_opt_out_without_a_time_counts(workspace, load, jane):
    """Nobody is written to who may not be; and what was said before that file came opts nobody in again."""
    set_consent(workspace.id, jane, "email", IN)
    load(rows((OUT, None)))
    status, _, is_dated = before = known(workspace)
    assert (status, is_dated) == (OUT, False)
    load(rows((IN, JUNE), (IN, None), (OUT, None)))
    assert known(workspace) == before


def test_an_opt_in_without_a_time_gives_way_to_any_opt_out_with_one(workspace, load, jane):
    load(rows((IN, None)))
    assert known(workspace)[::2] == (IN, False)
    load(rows((OUT, JUNE)))
    assert known(workspace) == (OUT, JUNE, True)


def test_a_person_who_opts_out_again_has_done_so_later(workspace, load, jane):
    load(rows((OUT, JUNE)))
    unsubscribe(workspace.id, jane.id, "email")
    load(rows((IN, JUNE + timedelta(days=30))))
    assert known(workspace)[0] == OUT


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_files_makes_no_difference(load, seed):
    """Of consents with times the latest counts; of two of one instant the opt-out."""
    chance = random.Random(seed)
    said = [
        (chance.choice([IN, OUT]), JUNE + timedelta(days=chance.randrange(6)))
        for _ in range(chance.randrange(2, 7))
    ]
    wanted = max(said, key=lambda each: (each[1], each[0] == OUT))
    for _ in range(4):
        workspace = WorkspaceFactory.create()
        for number, each in enumerate(chance.sample(said, len(said))):
            load(rows(each), into=workspace, name=f"file {number}")
        assert known(workspace) == (*wanted, True)


def test_dates_of_opting_in_and_out_say_which_is_later(workspace, load):
    load(
        "email,consents.email.opted_in_at,consents.email.opted_out_at\n"
        "a@x.test,2024-06-01,2024-07-01\nb@x.test,2024-06-01,2024-05-01\nc@x.test,2024-06-01,\n"
        "d@x.test,,2024-06-01\ne@x.test,,\nf@x.test,2024-06-01,2024-06-01\n"
    )
    day = datetime(2024, 6, 1, tzinfo=UTC)
    assert {name: known(workspace, f"{name}@x.test") for name in "abcdef"} == {
        "a": (OUT, datetime(2024, 7, 1, tzinfo=UTC), True),
        "b": (IN, day, True),
        "c": (IN, day, True),
        "d": (OUT, day, True),
        "e": None,
        "f": (OUT, day, True),
    }


def test_a_map_names_the_columns_and_their_form(workspace, load, tmp_path):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "contacts:\n  email: Mail\n  consents.email: {value: subscribed}\n"
        "  consents.email.at: {column: Since, type: time, format: '%d/%m/%Y', timezone: Europe/Berlin}\n"
    )
    load("Mail,Since\njane@x.test,01/06/2024\n", map=str(mapping))
    assert known(workspace) == (IN, datetime(2024, 5, 31, 22, tzinfo=UTC), True)


@pytest.mark.parametrize(
    ("consents", "cause"),
    [
        ({"email": {"status": "subscribed", "at": "2999-01-01"}}, "still to come"),
        ({"email": {"status": "subscribed", "at": "01/02/2024"}}, "the day or the month first"),
        ({"email": {"status": "maybe"}}, "is no consent"),
        ({"email": {"status": "subscribed", "from": "x"}}, "is not known"),
        ({"email.sometime": "x"}, "is not known"),
        ({"fax": "subscribed"}, "by channel"),
    ],
)
def test_what_cannot_be_read_is_refused(workspace, load, consents, cause):
    assert load(json.dumps({"email": "a@x.test", "consents": consents}))[0] == 1
    assert cause in refused_rows()[0]["cause"]
    assert not Contact.objects.exists()


def test_a_suppressed_address_stays_suppressed(workspace, load, jane):
    suppress(workspace.id, "email", "jane@x.test", reason=Suppression.Reason.BOUNCE)
    load(rows((IN, clock.now())))
    load(rows((IN, None)), consents="overwrite")
    assert Suppression.objects.filter(address="jane@x.test").exists()


@pytest.mark.parametrize("is_before", [True, False], ids=["before the merge", "after it"])
def test_a_file_about_somebody_merged(workspace, load, is_before):
    """The one who opted out speaks for the person, until somebody says otherwise later."""
    one, other = a_contact(workspace, "jane@x.test"), a_contact(workspace, "j@home.test")
    content = "email,consents.email,consents.email.at\n" + "".join(
        f"{email},{status},{at}\n"
        for email, status, at in [
            ("jane@x.test", "subscribed", "2024-06-03"),
            ("j@home.test", "unsubscribed", "2024-06-05"),
        ]
    )
    if is_before:
        load(content)
    merge = merge_contacts(workspace.id, one, other)
    if not is_before:
        load(content)
    assert known(workspace) == (OUT, datetime(2024, 6, 5, tzinfo=UTC), True)
    load("email,consents.email,consents.email.at\njane@x.test,subscribed,2024-06-04\n")
    assert known(workspace)[0] == OUT
    load("email,consents.email,consents.email.at\nj@home.test,subscribed,2024-06-06\n")
    assert known(workspace)[0] == IN
    undo_merge(workspace.id, merge)
    assert known(workspace)[:2] == (IN, datetime(2024, 6, 6, tzinfo=UTC))


def test_consents_are_exported_with_their_times(workspace, load, jane, tmp_path):
    load(
        "email,consents.email,consents.email.at,consents.sms\njane@x.test,unsubscribed,2024-06-05,subscribed\n"
    )
    path = tmp_path / "out.jsonl"
    run("export_contacts", path, workspace)
    assert json.loads(path.read_text())["consents"] == {
        "email": {"status": "opted_out", "at": "2024-06-05T00:00:00+00:00"},
        "sms": "opted_in",
    }
    for form in ("jsonl", "csv", "parquet"):
        again = WorkspaceFactory.create()
        run("export_contacts", tmp_path / f"out.{form}", workspace)
        run("import_contacts", tmp_path / f"out.{form}", again)
        assert known(again) == known(workspace)
