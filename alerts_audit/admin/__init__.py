"""The admin of the alert trail: reading and reviewing only. Each file registers the pages of one subject.

episodes       the list of alerts, the page of one alert, statistics
deliveries     received deliveries
gaps           missing alerts
seal           checkpoints, verifications, archives
reviews        the reviews of all alerts
page_views     which user has looked at which page
access_tokens  tokens of people, for the API
sources        senders and their tokens
"""

from alerts_audit.admin import access_tokens, deliveries, episodes, gaps, page_views, reviews, seal, sources
