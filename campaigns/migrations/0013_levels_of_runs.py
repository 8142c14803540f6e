from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0012_pending_consents"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="level",
            field=models.PositiveSmallIntegerField(
                choices=[(0, "none"), (1, "scores and segments"), (2, "all")], db_default=2, default=2
            ),
        ),
    ]
