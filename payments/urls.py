from django.urls import path

from payments.api import batches, disputes, views, webhooks
from payments.api.openapi import SchemaView
from payments.gateway_events.views import GatewayEventsView, StripeEventsView

urlpatterns = [
    path("v1/transactions", views.TransactionsView.as_view(), name="transactions"),
    path("v1/transactions/batch", batches.BatchView.as_view(), name="batch"),
    path("v1/transactions/<str:id>", views.TransactionView.as_view(), name="transaction"),
    path("v1/transactions/<str:id>/refunds", views.RefundsView.as_view(), name="refunds"),
    path("v1/fraud/try", views.FraudTrialView.as_view(), name="fraud-try"),
    path("v1/events", webhooks.EventsView.as_view(), name="events"),
    path("v1/events/<str:id>", webhooks.EventView.as_view(), name="event"),
    path("v1/webhook-endpoints", webhooks.EndpointsView.as_view(), name="webhook-endpoints"),
    path("v1/webhook-endpoints/<str:id>", webhooks.EndpointView.as_view(), name="webhook-endpoint"),
    path("v1/webhook-endpoints/<str:id>/secret", webhooks.SecretView.as_view(), name="webhook-secret"),
    path("v1/webhook-endpoints/<str:id>/test", webhooks.TestView.as_view(), name="webhook-test"),
    path("v1/webhook-endpoints/<str:id>/deliveries", webhooks.DeliveriesView.as_view(), name="webhook-deliveries"),
    path("v1/webhook-endpoints/<str:id>/redeliver", webhooks.RedeliverView.as_view(), name="webhook-redeliver"),
    path("v1/transactions/<str:id>/captures", views.CapturesView.as_view(), name="captures"),
    path("v1/transactions/<str:id>/void", views.VoidView.as_view(), name="void"),
    path("v1/transactions/<str:id>/review", views.ReviewView.as_view(), name="review"),
    path("v1/transactions/<str:id>/events", views.JournalView.as_view(), name="journal"),
    path("v1/disputes", disputes.DisputesView.as_view(), name="disputes"),
    path("v1/disputes/<str:id>", disputes.DisputeView.as_view(), name="dispute"),
    path("v1/disputes/<str:id>/evidence", disputes.EvidenceView.as_view(), name="dispute-evidence"),
    path("v1/disputes/<str:id>/accept", disputes.AcceptView.as_view(), name="dispute-accept"),
    path("v1/schema", SchemaView.as_view(), name="schema"),
    path("gateway/events", GatewayEventsView.as_view(), name="gateway-events"),
    path("gateway/events/stripe", StripeEventsView.as_view(), name="stripe-events"),
    # The older, short path of POST /v1/transactions.
    path("transaction", views.ShortNameView.as_view(), name="transaction-short"),
]
