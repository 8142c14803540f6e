from django.db import migrations, models

# Of what came with its sender's key and time, the id has the time as it was sent.
_MARK = """
UPDATE events_event SET is_ahead = true
WHERE message_id <> '' AND occurred_at = received_at AND id >= (
    lpad(to_hex(floor(extract(epoch FROM occurred_at) * 1000)::bigint + 1), 12, '0') || repeat('0', 20)
)::uuid
"""


class Migration(migrations.Migration):
    dependencies = [
        ("contacts", "0004_merged_by_index"),
        ("events", "0007_moments_as_everywhere"),
        ("workspaces", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="event",
            name="is_ahead",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="whether its sender's clock was ahead: its id has the time as it was sent",
            ),
        ),
        migrations.RunSQL(_MARK, migrations.RunSQL.noop),
        *(
            migrations.AddIndex(
                model_name="event",
                index=models.Index(
                    condition=models.Q(("is_ahead", True)),
                    fields=["workspace", *fields, "occurred_at", "id"],
                    name=name,
                ),
            )
            for fields, name in [
                ([], "event_ahead"),
                (["contact"], "event_ahead_by_contact"),
                (["name"], "event_ahead_by_name"),
            ]
        ),
    ]
