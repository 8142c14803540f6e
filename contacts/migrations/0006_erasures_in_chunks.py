from typing import Any

from django.db import migrations, models
from django.db.models import F


def finish_former(apps: Any, schema_editor: Any) -> None:
    """Erasures were one transaction: whatever has a receipt is removed."""
    apps.get_model("contacts", "Erasure").objects.update(finished_at=F("erased_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("contacts", "0005_erasures"),
        ("workspaces", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="erasure",
            name="finished_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="erasure",
            name="unfinished",
            field=models.JSONField(editable=False, null=True),
        ),
        migrations.RunPython(finish_former, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="erasure",
            index=models.Index(
                condition=models.Q(("finished_at", None)), fields=["erased_at"], name="erasure_unfinished"
            ),
        ),
    ]
