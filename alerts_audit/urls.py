from django.urls import path

from alerts_audit.api import receive_alert

urlpatterns = [path("alert", receive_alert, name="alert")]
