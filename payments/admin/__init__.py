"""Payments for people: money is looked at, and moves only through the services.

merchants, api_keys            may be added and, in part, changed
transactions, refunds, ledger  are read-only; refunding and resolving are actions with permissions of their own
"""

from payments.admin import api_keys, ledger, merchants, refunds, transactions

__all__ = ["api_keys", "ledger", "merchants", "refunds", "transactions"]
