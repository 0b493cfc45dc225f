from django.urls import path

from alerts_audit import episodes_api
from alerts_audit.api import receive_alert

urlpatterns = [
    path("alert", receive_alert, name="alert"),
    path("v1/alerts/episodes", episodes_api.EpisodesView.as_view(), name="episodes"),
    path("v1/alerts/episodes/export", episodes_api.ExportView.as_view(), name="episodes-export"),
    path("v1/alerts/episodes/<str:key>", episodes_api.EpisodeView.as_view(), name="episode"),
    path("v1/alerts/episodes/<str:key>/reviews", episodes_api.ReviewsView.as_view(), name="episode-reviews"),
    path("v1/alerts/gaps", episodes_api.GapsView.as_view(), name="gaps"),
    path("v1/alerts/statistics", episodes_api.StatisticsView.as_view(), name="statistics"),
    path("v1/alerts/checkpoints", episodes_api.CheckpointsView.as_view(), name="checkpoints"),
]
