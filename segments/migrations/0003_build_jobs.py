"""Builds and publications are jobs, as every work over all contacts."""

from django.db import migrations

JOBS = """
INSERT INTO workspaces_backfilljob (id, workspace_id, kind, subject, part, cursor, counts, started_at, progressed_at)
SELECT gen_random_uuid(), workspace_id, 'segments.build.' || kind, id::text, lane, to_jsonb(at::text), '{}',
    COALESCE(build_started_at, now()), progressed_at
FROM segments_segment, generate_series(0, 15) lane, LATERAL (
    SELECT 'BUILDS', CASE build_lanes_done WHEN 65535 THEN 'end' ELSE '00000000-0000-0000-0000-000000000000' END
    WHERE build = 'running' AND (build_lanes_done >> lane & 1 = 0 OR build_lanes_done = 65535 AND lane = 0)
    UNION ALL SELECT 'PUBLICATIONS', '00000000-0000-0000-0000-000000000000'
    WHERE publishing_since IS NOT NULL AND published_lanes >> lane & 1 = 0
) jobs (kind, at)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0002_statistics"),
        ("workspaces", "0004_backfill_parts"),
    ]

    operations = [
        migrations.RunSQL(JOBS, migrations.RunSQL.noop),
        migrations.RemoveField("segment", "progressed_at"),
    ]
