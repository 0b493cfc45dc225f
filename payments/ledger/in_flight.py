"""The operations that are not final here, and may be final at their gateway.

Comparisons with the gateway's record allow for them: the resolver still works on them, or their customer may just have
answered a challenge.
"""

# One statement, because a payment leaves the first table when it enters the second. `moves_money` is False for voids
# and authorizations.
IN_FLIGHT = """
SELECT work.operation, payment.gateway, payment.currency,
    coalesce(refund.gateway_key, capture.gateway_key, payment.gateway_key) AS key,
    coalesce(refund.amount, capture.amount, payment.amount) AS amount,
    work.void_id IS NULL AND NOT (work.operation = 'charge' AND payment.manual_capture) AS moves_money
FROM payments_unresolved AS work
JOIN payments_transaction AS payment ON payment.id = work.transaction_id
LEFT JOIN payments_refund AS refund ON refund.id = work.refund_id
LEFT JOIN payments_capture AS capture ON capture.id = work.capture_id
UNION ALL
SELECT 'charge', payment.gateway, payment.currency, payment.gateway_key, payment.amount, NOT payment.manual_capture
FROM payments_authentication AS challenge
JOIN payments_transaction AS payment ON payment.id = challenge.transaction_id
WHERE challenge.outcome IS NULL
"""
