from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0009_senders"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="soft_bounced_at",
            field=models.DateTimeField(null=True),
        ),
    ]
