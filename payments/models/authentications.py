"""Strong customer authentication of payments (3-D Secure)."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.states import AUTHENTICATIONS, FAILED_AUTHENTICATIONS


class Authentication(models.Model):
    """Strong customer authentication of a payment (3-D Secure): an open challenge, and then its result.

    A payment that is authenticated without a challenge has the result only. The gateway decides; `decided_at` is when
    we learned it. `due_at` is when the worker asks next.
    """

    class LiabilityShift(models.TextChoices):
        ISSUER = "issuer", "The card's bank"
        MERCHANT = "merchant"

    transaction = models.OneToOneField(
        "Transaction", on_delete=models.PROTECT, primary_key=True, related_name="authentication"
    )
    gateway_key = models.UUIDField(null=True)  # the payment's, of a challenge: events name it
    url = models.TextField(null=True)
    expires_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, null=True, choices=[(name, name) for name in AUTHENTICATIONS])
    liability_shift = models.CharField(max_length=8, null=True, choices=LiabilityShift.choices)
    attempts = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], condition=Q(outcome=None), name="challenge_due"),
            models.Index(fields=["gateway_key"], condition=Q(outcome=None), name="challenge_open_key"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    outcome=None, liability_shift=None, decided_at=None, url__isnull=False, due_at__isnull=False
                )
                | Q(
                    outcome__in=AUTHENTICATIONS,
                    liability_shift__in=["issuer", "merchant"],
                    decided_at__isnull=False,
                    due_at=None,
                ),
                name="authentication_open_or_decided",
            ),
            models.CheckConstraint(
                condition=Q(url=None, expires_at=None, gateway_key=None)
                | Q(url__isnull=False, expires_at__isnull=False, gateway_key__isnull=False),
                name="authentication_challenge_is_whole",
            ),
            models.CheckConstraint(
                condition=Q(outcome=None) | ~Q(outcome__in=FAILED_AUTHENTICATIONS) | Q(liability_shift="merchant"),
                name="authentication_shift_needs_success",
            ),
        ]

    def __str__(self) -> str:
        return str(self.transaction_id)
