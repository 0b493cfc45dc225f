"""A local fake of Stripe's PaymentIntents API, written from its public documentation (https://docs.stripe.com/api).

    STRIPE_API_KEY=... GATEWAY_CONTROL_TOKEN=... python -m loadtests.stripe --data var/stripe.sqlite3

It has the objects, statuses, errors, idempotency and events that `payments/gateway/stripe/` needs, and the magic
amounts and the fault profile of the simulator. docs/gateway.md is the manual.
"""
