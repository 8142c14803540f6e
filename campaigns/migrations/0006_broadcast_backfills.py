"""Broadcasts store their progress as every backfill does."""

from django.db import migrations, models

from config.ids import NO_ID


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0005_date_backfills")]

    operations = [
        migrations.RenameField("broadcast", "processed_count", "done"),
        migrations.AlterField(
            "broadcast", "done", models.PositiveBigIntegerField(db_default=0, default=0, editable=False)
        ),
        migrations.AddField("broadcast", "cursor", models.JSONField(editable=False, null=True)),
        migrations.RunSQL(
            f"UPDATE campaigns_broadcast SET cursor = to_jsonb(COALESCE(last_contact_id, '{NO_ID}'))"
            " WHERE finished_at IS NULL",
            migrations.RunSQL.noop,
        ),
        migrations.RemoveField("broadcast", "last_contact_id"),
        migrations.AddField("broadcast", "total", models.PositiveBigIntegerField(editable=False, null=True)),
        migrations.AddField(
            "broadcast", "failed", models.PositiveBigIntegerField(db_default=0, default=0, editable=False)
        ),
        migrations.AddField(
            "broadcast", "error", models.TextField(blank=True, db_default="", default="", editable=False)
        ),
        migrations.AddField("broadcast", "progressed_at", models.DateTimeField(editable=False, null=True)),
        migrations.AlterField("broadcast", "finished_at", models.DateTimeField(editable=False, null=True)),
    ]
