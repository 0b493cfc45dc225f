"""The admin of payments: data is read-only, and money moves only through the services.

merchants, api_keys, webhooks   can be added and, in part, changed
fraud                           entries of lists can be added and removed; the record of changes is read-only
routes                          routes to gateways; the record of their changes is read-only
transactions, refunds, disputes, ledger, archives   are read-only; refunding and resolving are actions with their own
                                                    permissions
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
