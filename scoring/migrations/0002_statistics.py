from django.db import migrations

# A workspace that the statistics do not know yet would be taken for one without rows, and all of its rows be read in
# place of a few: without statistics on the column, every workspace is taken for a middling part of the table.
_TABLES = ["scoring_scoreentry", "scoring_rulescore"]
_SET = "ALTER TABLE {} ALTER COLUMN workspace_id SET STATISTICS {}"


class Migration(migrations.Migration):
    dependencies = [("scoring", "0001_initial")]

    operations = [migrations.RunSQL(_SET.format(table, 0), _SET.format(table, -1)) for table in _TABLES]
