from django.urls import path

from payments import api

urlpatterns = [
    path("v1/transactions", api.TransactionsView.as_view(), name="transactions"),
    path("v1/transactions/batch", api.BatchView.as_view(), name="batch"),
    path("v1/transactions/<str:id>", api.TransactionView.as_view(), name="transaction"),
    path("v1/transactions/<str:id>/refunds", api.RefundsView.as_view(), name="refunds"),
    # A short name for POST /v1/transactions.
    path("transaction", api.ShortNameView.as_view(), name="transaction-short"),
]
