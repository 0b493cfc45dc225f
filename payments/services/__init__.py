"""All writes of payments, one module per feature. Views, admin, worker and tests call these and nothing else.

charges       create_payment     store -> charge at the gateway -> settle
batches       create_batch       the same for up to 1,000 at once
refunds       create_refund      reserve -> refund at the gateway -> settle
resolution    resolve_due        cancel unknown operations by their key, and settle the gateway's answer
idempotency   replay_*           the stored outcome for a key that was used before

They return an `Outcome` or raise a `PaymentError`, and know no HTTP.

Lock order, so that no two of them deadlock:

* A group of payments takes its idempotency keys in the order (merchant, key).
* A charge is settled under its row in `unresolved`, then under its transaction row.
* A refund takes the transaction row first, then the idempotency key or the refund row, then its row in `unresolved`.
  A refund begins when the charge has left `unresolved`, so both orders never meet on one payment.
* The resolver locks rows in `unresolved` only, and skips locked ones.
"""
