"""The gateway's answers to responses to disputes; those delivered before have none."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0022_authentication"),
    ]

    operations = [
        migrations.AddField(
            model_name="disputeresponse",
            name="failure_code",
            field=models.TextField(null=True),
        ),
        migrations.AddField(
            model_name="disputeresponse",
            name="outcome",
            field=models.CharField(choices=[("taken", "Taken"), ("refused", "Refused")], max_length=7, null=True),
        ),
        migrations.AddConstraint(
            model_name="disputeresponse",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("failure_code", None), ("outcome", None)),
                    models.Q(
                        ("delivered_at__isnull", False),
                        ("outcome__isnull", False),
                        models.Q(
                            models.Q(("failure_code", None), ("outcome", "taken")),
                            ("outcome", "refused"),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="dispute_response_outcome_fits",
            ),
        ),
    ]
