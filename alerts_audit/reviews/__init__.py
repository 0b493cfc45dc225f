"""Actions of people on the trail: reviews, page views, exports, and statistics of them.

services     acknowledge, comment, mark as noise, link to an incident
viewing      the log of page views
exports      exports of a filtered list
statistics   time to acknowledge and to resolve, and noise
"""
