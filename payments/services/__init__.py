"""Every change of a payment's state, one module a feature; views, admin, worker and tests call these and nothing else.

charges       create_payment     T1 -> gateway -> T2
batches       create_batch       the same for up to 1,000 at once
refunds       create_refund      reserve -> gateway -> settle
resolution    resolve_due        what became of it? cancel by our key, and settle what the gateway says
"""
