"""The display of amounts and states."""

from django.utils.safestring import SafeString

from fintech.adminsite.display import show_whole
from payments.currencies import format_amount
from payments.serializers import serialize_failure

# The colours of Unfold's badges.
TRANSACTION_COLOURS = {
    "processing": "info",
    "succeeded": "success",
    "declined": "warning",
    "blocked": "warning",
    "failed": "danger",
    "unknown": "primary",
    "authorized": "info",
    "voided": "warning",
    "in_review": "primary",
    "requires_action": "info",
}
# Of refunds, captures and voids.
OPERATION_COLOURS = {"processing": "info", "succeeded": "success", "failed": "danger", "unknown": "primary"}


def show_amount(amount_minor: int, currency: str) -> SafeString:
    return show_whole(format_amount(amount_minor, currency))


def show_failure(code: str | None) -> str | None:
    failure = serialize_failure(code)
    return f"{failure.code}: {failure.message}" if failure else None
