from django.urls import path

from payments.api import views
from payments.api.openapi import SchemaView

urlpatterns = [
    path("v1/transactions", views.TransactionsView.as_view(), name="transactions"),
    path("v1/transactions/batch", views.BatchView.as_view(), name="batch"),
    path("v1/transactions/<str:id>", views.TransactionView.as_view(), name="transaction"),
    path("v1/transactions/<str:id>/refunds", views.RefundsView.as_view(), name="refunds"),
    path("v1/schema", SchemaView.as_view(), name="schema"),
    # The older, short path of POST /v1/transactions.
    path("transaction", views.ShortNameView.as_view(), name="transaction-short"),
]
