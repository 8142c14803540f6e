from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0003_middling_workspaces")]

    operations = [
        migrations.AddField("run", "skips_waits", models.BooleanField(db_default=False, default=False)),
        migrations.AlterField("campaignversion", "number", models.PositiveIntegerField(null=True)),
    ]
