"""Events that the gateway sends us: `POST /gateway/events`.

views.py      check the signature, store the event, answer
signature.py  the signature and its time, by the Standard Webhooks specification
inbox.py      store each event once, as it came; later, process what is due
kinds.py      the table of event types: what their data is, and which function applies it
decisions.py  decisions about open payments, captures, voids and refunds
disputes.py   disputes: each event is one step
search.py     the search for an operation by the gateway's key
errors.py     the two ways in which an event is not applied, and what cannot be read

Stripe's events come to `POST /gateway/events/stripe`:

stripe.py           payments and refunds, as the same decisions
stripe_disputes.py  disputes: an event names one, whose present state is read

An event is stored before it is understood. It may come twice, late, or before an earlier one: the functions in
`kinds.py` are idempotent, and raise `NotYet` for what must wait.
"""
