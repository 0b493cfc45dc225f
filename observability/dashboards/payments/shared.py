"""Metrics and label matchers that several rows share."""

WEB = 'instance=~"$instance"'
RESPONSES = "django_http_responses_total_by_status_view_method_total"
