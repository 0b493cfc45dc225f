"""Create the table in which each host announces its metrics files."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="MetricsEpoch",
            fields=[
                ("epoch", models.UUIDField(primary_key=True, serialize=False)),
                ("role", models.TextField()),
                ("holder", models.TextField()),
                ("url", models.TextField()),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("retired_at", models.DateTimeField(null=True)),
            ],
        ),
    ]
