"""Validate the check of 0031 on all rows, while payments continue."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0031_checks_by_function"),
    ]

    operations = [
        ValidateConstraint(model_name="transaction", name="transaction_is_consistent"),
    ]
