"""Actions of people on the trail.

services.py  acknowledge, comment, mark as noise, link to an incident
viewing.py   the log of page views
"""
