"""All writes of payments, one module per feature. Views, admin, worker and tests call these and nothing else.

charges.py               create_payment: store -> charge at the gateway -> settle
batches.py               create_batch: the same for up to 1,000 at once
captures.py              create_capture: reserve a part of the authorization -> capture at the gateway -> settle
voids.py                 create_void: close the authorization -> release it at the gateway -> settle
refunds.py               create_refund: reserve -> refund at the gateway -> settle
reviews.py               decide_review: accept (capture) or refuse (void) a payment in review
disputes.py              submit_evidence: store the merchant's response, which the worker delivers
challenges.py            the end of a customer's authentication
idempotency.py           the stored result for a key that was used before
refused_retries.py       new payments that the advice of a decline forbids
failover.py              move_payment: to another gateway, when the first one is known to have charged nothing
resolution.py            resolve_due: cancel unknown operations by their key, and settle the gateway's answer
authorization_expiry.py  void_expired: void authorizations whose time is over

pending.py               a payment from its validation to its answer, and its first row
outcomes.py              the rows for the gateway's answers
operations.py            the steps that captures, voids, refunds and reviews share
results.py               the type that all of them return

They return a `Result` or raise a `PaymentError`, and know no HTTP.

Lock order, so that no two of them deadlock:

* A group of payments takes its idempotency keys in the order (merchant, key).
* A charge is settled under its row in `unresolved`, then under its transaction row.
* A refund takes the transaction row first, then the idempotency key or the refund row, then its row in `unresolved`.
  A refund begins when the charge has left `unresolved`, so both orders never meet on one payment.
* The resolver locks rows in `unresolved` only, and skips locked ones.
"""
