"""Evidence only grows, whoever asks."""

from django.db import migrations

from fintech.evidence import append_only

EVIDENCE = ("observation", "input", "review", "view", "gap", "leaf", "checkpoint", "archive", "verification")


class Migration(migrations.Migration):
    dependencies = [("alerts_audit", "0002_trail")]

    operations = [append_only(f"alerts_audit_{table}") for table in EVIDENCE]
