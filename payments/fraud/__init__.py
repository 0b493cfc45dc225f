"""Fraud: whether a payment is accepted, blocked or held for a review. docs/api.md explains it to merchants.

rules.py     score a payment by the merchant's weights, block list and allow list: a pure function. Also the values
             that lists and velocity rules look at, such as the customer
velocity.py  limits in sliding windows, whose counters the database has; the columns of the verdict
settings.py  changes of a merchant's settings, lists and velocity rules, and who made them
"""
