"""Actions of people on the trail.

services     acknowledge, comment, mark as noise, link to an incident
viewing      the log of page views
"""
