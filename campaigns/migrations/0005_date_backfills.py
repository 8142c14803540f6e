"""Date timers are scheduled as every work over all contacts: lane by lane, with jobs of its own."""

from django.db import migrations

JOBS = """
INSERT INTO workspaces_backfilljob (id, workspace_id, kind, subject, part, cursor, counts, started_at, progressed_at)
SELECT gen_random_uuid(), workspace_id, 'campaigns.journeys.date_triggers.DATES', id::text, lane,
    '"00000000-0000-0000-0000-000000000000"', '{}', date_backfill_since, date_backfill_since
FROM campaigns_campaignversion, generate_series(0, 15) lane WHERE date_backfill_since IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0004_rehearsals"),
        ("workspaces", "0004_backfill_parts"),
    ]

    operations = [
        migrations.RunSQL(JOBS, migrations.RunSQL.noop),
        migrations.RemoveField("campaignversion", "date_backfill_cursor"),
        migrations.RemoveField("campaignversion", "date_backfill_since"),
    ]
