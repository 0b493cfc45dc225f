"""An index of the webhooks that failed and are tried again. Built while payments continue.

Nothing enters it when an event is queued.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("payments", "0033_fraud_weights_help"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("status", "pending"), ("tries__gt", 0)),
                fields=["endpoint", "id"],
                name="webhook_delivery_tried",
            ),
        ),
    ]
