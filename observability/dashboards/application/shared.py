"""Metrics and label matchers that several rows share."""

HERE = 'instance=~"$instance"'
RESPONSES = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"
