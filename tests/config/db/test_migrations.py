"""Migrations after the first release keep older code running; and the check of that finds what does not."""

import pytest
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader

from tests.migrations import LARGE, RELEASED, dangers

INDEX = models.Index(fields=["source"], name="new_index")
CHECK = models.CheckConstraint(condition=models.Q(source=""), name="new_check")
UNIQUE = models.UniqueConstraint(fields=["source"], name="new_unique")


@pytest.fixture(scope="module")
def loader():
    return MigrationLoader(None)


def a_migration(*operations, app="events", **marks):
    one = migrations.Migration("9999_new", app)
    one.operations = list(operations)
    for name, value in marks.items():
        setattr(one, name, value)
    return one


def test_what_was_added_since_the_release_is_survived(loader):
    found = []
    for app, released in RELEASED.items():
        for key in loader.graph.leaf_nodes(app):
            for node in loader.graph.forwards_plan(key):
                if node[0] == app and node[1] > released:
                    before = loader.project_state(node, at_end=False)
                    found += dangers(loader.get_migration(*node), before)
    assert found == []


def test_the_large_tables_are_models_that_there_are(loader):
    state = loader.project_state()
    assert {(app, name) for app, names in LARGE.items() for name in names} <= state.models.keys()


@pytest.mark.parametrize(
    "operation",
    [
        migrations.RemoveField("event", "source"),
        migrations.RenameField("event", "source", "origin"),
        migrations.DeleteModel("Event"),
        migrations.RenameModel("Event", "EventRecord"),
        migrations.AddField("event", "new", models.IntegerField(default=7)),
        migrations.AlterField("idempotencykey", "key", models.CharField(max_length=10)),
        migrations.AlterField("lease", "holder", models.UUIDField()),
        migrations.AddIndex("event", INDEX),
        migrations.AddConstraint("event", CHECK),
        migrations.AddConstraint("event", UNIQUE),
        migrations.RunSQL("UPDATE events_event SET source = ''"),
        migrations.RunPython(migrations.RunPython.noop),
        migrations.SeparateDatabaseAndState([migrations.RemoveField("event", "source")]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_older_code_does_not_survive_is_refused(loader, operation):
    (told,) = dangers(a_migration(operation), loader.project_state())
    assert told.startswith("events.9999_new: ")


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("event", "new", models.IntegerField(null=True)),
        migrations.AddField("event", "new", models.IntegerField(db_default=7)),
        migrations.CreateModel("New", [("id", models.UUIDField(primary_key=True))]),
        migrations.AlterField("lease", "holder", models.UUIDField(null=True, help_text="another word")),
        migrations.AddIndex("lease", models.Index(fields=["expires_at"], name="new_index")),
        AddIndexConcurrently("event", INDEX),
        AddConstraintNotValid("event", CHECK),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_only_adds_is_taken(loader, operation):
    assert dangers(a_migration(operation), loader.project_state()) == []


def test_what_says_why_it_may_is_taken(loader):
    gone = a_migration(migrations.RemoveField("event", "source"), is_contraction="unused since 1.2")
    online = a_migration(migrations.RunSQL("SELECT 1"), is_online="it writes nothing")
    assert dangers(gone, loader.project_state()) == []
    assert dangers(online, loader.project_state()) == []
