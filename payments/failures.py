"""The codes of failures: a sentence for people, and advice for programs whether another try makes sense.

The codes are stable. The rules of the card networks behind the advice are in `docs/api.md`.
"""

from datetime import timedelta
from typing import Literal

Advice = Literal["retry_later", "retry_with_other_method", "do_not_retry"]

OTHER_MESSAGE = "The gateway refused; no money was moved."

# For how long the same payment is refused after a decline, if the merchant wants that. Mastercard's advice 24 is the
# shortest wait for funds; Visa counts tries of 30 days. Technical faults and our own blocks may end at any moment.
REFUSED_FOR = {
    "insufficient_funds": timedelta(hours=1),
    "lost_or_stolen": timedelta(days=30),
    "do_not_try_again": timedelta(days=30),
}

# By code. An unknown code of the gateway gets that sentence, and no advice.
FAILURES: dict[str, tuple[str, Advice]] = {
    "insufficient_funds": ("The bank declined: insufficient funds.", "retry_later"),
    "do_not_honor": ("The bank declined without a reason.", "retry_with_other_method"),
    "expired_card": ("The bank declined: the card has expired.", "retry_with_other_method"),
    "lost_or_stolen": ("The bank declined: the card was reported lost or stolen.", "do_not_retry"),
    "do_not_try_again": ("The bank declined for good: never try this card again.", "do_not_retry"),
    "issuer_unavailable": ("The bank declined because it cannot decide at present.", "retry_later"),
    "authentication_failed": ("The customer refused or failed the authentication (3-D Secure).", "retry_later"),
    "authentication_expired": ("The customer did not complete the authentication (3-D Secure) in time.", "retry_later"),
    "authentication_required": (
        "The bank wants the customer to authenticate (3-D Secure): send a new payment with a return_url.",
        "retry_with_other_method",
    ),
    "fraud_blocked": ("Fraud scoring blocked the payment: fraud.reasons names the causes.", "do_not_retry"),
    "processing_error": ("The gateway failed; no money was moved. You may try again with a new key.", "retry_later"),
    "not_reached": (
        "The gateway was not reached; no money was moved. You may try again with a new key.",
        "retry_later",
    ),
    "circuit_open": ("The gateway is down; no money was moved. You may try again with a new key.", "retry_later"),
    "acquirer_unavailable": (OTHER_MESSAGE, "retry_later"),
    "cancelled": (
        "The outcome stayed unknown, so the operation was cancelled at the gateway; no money was moved. You may try"
        " again with a new key.",
        "retry_later",
    ),
    "exceeds_charge": ("The gateway refused the refund: it exceeds the charge.", "do_not_retry"),
    "currency_differs": ("The gateway refused: the payment has another currency.", "do_not_retry"),
    "authorization_closed": (
        "The gateway refused: the authorization was captured for the last time, or voided.",
        "do_not_retry",
    ),
    "authorization_not_found": ("The gateway refused: the authorization does not exist.", "do_not_retry"),
    "exceeds_authorization": (
        "The gateway refused the capture: it exceeds what is left of the authorization.",
        "do_not_retry",
    ),
    "authorization_expired": ("The gateway refused the capture: the authorization has expired.", "do_not_retry"),
    "payment_method_missing": (
        "The gateway needs payment_method.token; nothing was charged.",
        "retry_with_other_method",
    ),
    "amount_not_representable": (
        "The gateway cannot move exactly this amount in this currency; no money was moved.",
        "do_not_retry",
    ),
    "charge_disputed": ("The gateway refused the refund: the charge is disputed.", "do_not_retry"),
    "not_awaiting_response": ("The gateway took no response: the bank had decided the dispute.", "do_not_retry"),
    "charge_not_found": ("The gateway refused the refund: the charge does not exist.", "do_not_retry"),
}
