"""Metrics and label matchers that several rows share."""

HOST = 'instance=~"$instance"'
OUR_DATABASES = 'datname!~"template.*|postgres|"'
