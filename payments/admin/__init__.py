"""The admin of payments: data is read-only, and money moves only through the services.

merchants.py       merchants: added and changed, never deleted
api_keys.py        API keys: created, shown once, revoked
webhooks.py        webhook endpoints and their deliveries
fraud.py           block and allow lists, velocity rules, and the record of their changes
routes.py          routes to gateways, and the record of their changes
transactions.py    transactions, read-only
history.py         the page of one transaction: journal, operations, ledger legs
operations.py      refund, capture and void: each with its form, permission and service
refunds.py         refunds, read-only
disputes.py        disputes, read-only
gateway_events.py  events from the gateway, read-only
ledger.py          the ledger's legs, read-only
archives.py        archives, read-only
dashboard.py       the payments' part of the first page

recorded.py        the base of pages whose changes the database records
filters.py         filters of the lists
search.py          search boxes
display.py         the display of amounts and states
"""

from payments.admin import (
    api_keys,
    archives,
    disputes,
    fraud,
    gateway_events,
    ledger,
    merchants,
    refunds,
    routes,
    transactions,
    webhooks,
)
