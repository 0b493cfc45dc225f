"""Triggers that make evidence append-only for every role, and fix the name and cluster of a source."""

from django.db import migrations

from fintech.database.append_only import append_only

EVIDENCE = ("observation", "input", "review", "view", "gap", "leaf", "checkpoint", "archive", "verification")

KEEP_SOURCE = """
CREATE TRIGGER keep_name BEFORE UPDATE ON alerts_audit_source FOR EACH ROW
WHEN ((OLD.name, OLD.cluster) IS DISTINCT FROM (NEW.name, NEW.cluster)) EXECUTE FUNCTION refuse_change()
"""


class Migration(migrations.Migration):
    dependencies = [("alerts_audit", "0002_trail")]

    operations = [
        *(append_only(f"alerts_audit_{table}") for table in EVIDENCE),
        migrations.RunSQL(KEEP_SOURCE, "DROP TRIGGER keep_name ON alerts_audit_source"),
    ]
