"""The admin of the alert trail: reading and reviewing only. Each file registers the pages of one subject.

episodes     the list of alerts, the page of one alert, statistics
deliveries   received deliveries
gaps         missing alerts
seal         checkpoints, verifications, archives
reviews      page views, reviews, access tokens
sources      senders and their tokens
"""

from alerts_audit.admin import deliveries, episodes, gaps, reviews, seal, sources

__all__ = ["deliveries", "episodes", "gaps", "reviews", "seal", "sources"]
