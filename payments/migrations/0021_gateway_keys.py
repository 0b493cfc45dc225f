"""The search by the gateway's key: a bloom filter for each range of pages. Built while payments continue."""

import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


def by_gateway_key(model: str) -> AddIndexConcurrently:
    index = django.contrib.postgres.indexes.BrinIndex(
        autosummarize=True, fields=["gateway_key"], name=f"{model}_gateway_key", opclasses=["uuid_bloom_ops"]
    )
    return AddIndexConcurrently(model_name=model, index=index)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("payments", "0019_gateway_failover"),
    ]

    operations = [by_gateway_key(model) for model in ("transaction", "refund", "capture", "void")]
