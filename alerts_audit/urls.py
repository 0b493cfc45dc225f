from django.urls import path

from alerts_audit.api import views
from alerts_audit.webhook.views import receive_alert

urlpatterns = [
    path("alert", receive_alert, name="alert"),
    path("v1/alerts/episodes", views.EpisodesView.as_view(), name="episodes"),
    path("v1/alerts/episodes/export", views.ExportView.as_view(), name="episodes-export"),
    path("v1/alerts/episodes/<str:key>", views.EpisodeView.as_view(), name="episode"),
    path("v1/alerts/episodes/<str:key>/reviews", views.ReviewsView.as_view(), name="episode-reviews"),
    path("v1/alerts/gaps", views.GapsView.as_view(), name="gaps"),
    path("v1/alerts/statistics", views.StatisticsView.as_view(), name="statistics"),
    path("v1/alerts/checkpoints", views.CheckpointsView.as_view(), name="checkpoints"),
]
