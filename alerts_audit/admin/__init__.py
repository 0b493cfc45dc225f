"""The admin of the alert trail: reading and reviewing only. Each file registers the pages of one subject.

episodes.py         the list of alerts, and the page of one alert
episode_filters.py  the filters and the search box of this list
episode_links.py    the links of an alert: runbook, Prometheus, Grafana, logs
timeline.py         the history of one alert
statistics.py       statistics of alert handling
deliveries.py       received deliveries
gaps.py             missing alerts
seal.py             checkpoints, verifications, archives
reviews.py          the reviews of all alerts
page_views.py       the access log: which user has looked at which page
access_tokens.py    tokens of people, for the API
sources.py          senders and their tokens
dashboard.py        the trail's part of the first page

access_logged.py    the base of all pages of evidence: read-only, each view recorded, with proofs
display.py          the display of states, seals and durations
"""

from alerts_audit.admin import access_tokens, deliveries, episodes, gaps, page_views, reviews, seal, sources
