"""The second acquirer: Stripe's PaymentIntents API (https://docs.stripe.com/api/payment_intents).

Each of our operations is one request with our key as its `Idempotency-Key`; the key is also in the object's metadata.

Stripe has no cancel by key. Our fence is a request that occupies the key: a PaymentIntent without a payment method,
which moves no money. If Stripe accepts it, the operation never arrived, and Stripe refuses it if it arrives later,
because its parameters differ. A lookup confirms that, because Stripe keeps a key for a day only. If Stripe
refuses the fence, the operation arrived, and its result is looked up.
"""
