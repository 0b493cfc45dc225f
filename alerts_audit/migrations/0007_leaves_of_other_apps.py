"""Leaves may be of rows of other apps, whose names are longer. PostgreSQL rewrites nothing for a longer limit."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts_audit", "0006_lz4")]

    operations = [migrations.AlterField("leaf", "kind", models.CharField(max_length=32))]
