"""Merges and erasures store their progress as every backfill does."""

from django.db import migrations, models

FINISHED = """
UPDATE contacts_merge SET finished_at = COALESCE(undone_at, merged_at) WHERE cursor IS NULL;
UPDATE contacts_erasure SET progressed_at = erased_at;
"""


def _progress(model):
    return [
        migrations.AddField(
            model, "failed", models.PositiveBigIntegerField(db_default=0, default=0, editable=False)
        ),
        migrations.AddField(
            model, "error", models.TextField(blank=True, db_default="", default="", editable=False)
        ),
    ]


class Migration(migrations.Migration):
    dependencies = [("contacts", "0003_company_external_id")]

    operations = [
        migrations.RemoveIndex("merge", "merge_unfinished"),
        migrations.RemoveIndex("erasure", "erasure_unfinished"),
        migrations.RenameField("merge", "unfinished", "cursor"),
        migrations.RenameField("merge", "rows_moved", "done"),
        migrations.RenameField("merge", "rows_total", "total"),
        migrations.AlterField(
            "merge", "done", models.PositiveBigIntegerField(db_default=0, default=0, editable=False)
        ),
        migrations.AlterField("merge", "total", models.PositiveBigIntegerField(editable=False, null=True)),
        migrations.AddField("merge", "finished_at", models.DateTimeField(editable=False, null=True)),
        *_progress("merge"),
        migrations.RenameField("erasure", "unfinished", "cursor"),
        migrations.AddField(
            "erasure", "done", models.PositiveBigIntegerField(db_default=0, default=0, editable=False)
        ),
        migrations.AddField("erasure", "total", models.PositiveBigIntegerField(editable=False, null=True)),
        migrations.AddField("erasure", "progressed_at", models.DateTimeField(editable=False, null=True)),
        *_progress("erasure"),
        migrations.RunSQL(FINISHED, migrations.RunSQL.noop),
        migrations.AddIndex(
            "merge",
            models.Index(
                fields=["progressed_at"],
                condition=models.Q(finished_at=None),
                name="merge_unfinished",
            ),
        ),
        migrations.AddIndex(
            "erasure",
            models.Index(
                fields=["progressed_at"],
                condition=models.Q(finished_at=None),
                name="erasure_unfinished",
            ),
        ),
    ]
