from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0007_pages_of_suppressions"),
    ]

    operations = [
        migrations.AddField(
            model_name="broadcast",
            name="cancelled_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="changes",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="scheduled_at",
            field=models.DateTimeField(null=True),
        ),
    ]
