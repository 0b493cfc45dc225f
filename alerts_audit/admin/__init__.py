"""The alert trail for people: to read, to review, and nothing else. Each file registers the pages of one subject.

episodes     the list to work through, one alert's story, statistics
deliveries   what was sent
gaps         what never arrived
seal         checkpoints, verifications, archives
people       who looked at it, what was said, access tokens
sources      who may send
"""

from alerts_audit.admin import deliveries, episodes, gaps, reviews, seal, sources

__all__ = ["deliveries", "episodes", "gaps", "reviews", "seal", "sources"]
