"""The payments' part of the admin's first page: open payments and the newest ones, with two cheap reads and
no count.
"""

from typing import Any

from django.http import HttpRequest

from fintech.adminsite.display import page_of, show_time
from payments.admin.display import TRANSACTION_COLOURS
from payments.currencies import format_amount
from payments.kpis.gauges import unresolved
from payments.models import Transaction

NEWEST = 10


def dashboard_section(request: HttpRequest) -> dict[str, Any] | None:
    """Return the section's template and its context; None without permission."""
    if not request.user.has_perm("payments.view_transaction"):
        return None
    number, oldest = unresolved()
    payments = Transaction.objects.select_related("merchant").order_by("-pk")[:NEWEST]
    return {
        "template": "payments/dashboard_recent_payments.html",
        "unresolved": number,
        "unresolved_oldest": round(oldest),
        "payments": [
            {
                "link": page_of(Transaction, payment.pk),
                "id": payment.pk,
                "created": show_time(payment.created_at),
                "merchant": payment.merchant.name,
                "amount": format_amount(payment.amount, payment.currency),
                "status": payment.status,
                "colour": TRANSACTION_COLOURS[payment.status],
            }
            for payment in payments
        ],
    }
