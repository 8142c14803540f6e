from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0005_who_activated")]

    operations = [
        migrations.AddField("campaign", "counted_until", models.DateTimeField(editable=False, null=True)),
        *(
            migrations.AddField(
                "campaign", name, models.PositiveBigIntegerField(db_default=0, default=0, editable=False)
            )
            for name in ("counted_runs", "counted_messages")
        ),
    ]
