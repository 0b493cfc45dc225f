from prometheus_client import Counter

DELIVERIES = Counter("alert_deliveries_total", "Requests to POST /alert, by what became of them.", ["outcome"])
for outcome in ("stored", "unauthorized", "too_large", "incomplete", "unavailable"):
    DELIVERIES.labels(outcome)  # export 0 first, so that rate() sees the first event
